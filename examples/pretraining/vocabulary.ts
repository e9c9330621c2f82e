import { captionOf, randomScene, shapes, trainWordPiece } from '@espalier/data';
import { random } from '@espalier/core';

/** Words that questions about pictures use and that generated captions lack. */
const ASKED = [
  'what shape is in the image?', 'what shape is present?', 'what shape does the image contain?', 'what color is the shape?', 'what is the color of the object?',
  'is there a circle in the image?', 'is there not a triangle?', 'does the image contain a rectangle?', 'does the image not contain a blue shape?', 'is no shape present?',
  'how many objects are there?', 'are there more circles than triangles?', 'are there fewer small objects than large objects?', 'which one is the same?',
];

/** The word pieces of the demo backbones: 200, from captions and questions of generated scenes. */
export function demoVocabulary(): string {
  const captions = Array.from({ length: 2000 }, (_, i) => {
    const draw = random('vocabulary', i);
    return captionOf(randomScene(draw), draw).text;
  });
  const questions = shapes({ train: 400, test: 4, seed: 0 }).splits.train.map((r) => r.question);
  return trainWordPiece([...captions, ...questions, ...ASKED], { size: 200 });
}
