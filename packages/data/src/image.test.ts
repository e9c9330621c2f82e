import { crc32, deflateSync } from 'node:zlib';
import jpeg from 'jpeg-js';
import { describe, expect, it } from 'vitest';
import { DataError } from './errors.ts';
import { decodeImage, encodePng } from './image.ts';

interface Header {
  readonly width: number;
  readonly height: number;
  readonly depth: number;
  readonly color: number; // 0 grey, 2 RGB, 3 palette, 4 grey + alpha, 6 RGBA
  readonly interlaced?: boolean;
}

function chunk(type: string, body: Buffer): Buffer {
  const named = Buffer.concat([Buffer.from(type, 'latin1'), body]);
  const out = Buffer.alloc(named.length + 8);
  out.writeUInt32BE(body.length, 0);
  named.copy(out, 4);
  out.writeUInt32BE(crc32(named), named.length + 4);
  return out;
}

/** A PNG file of unfiltered rows. */
function png({ width, height, depth, color, interlaced = false }: Header, rows: readonly (readonly number[])[], extra: readonly Buffer[] = []): Buffer {
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header.set([depth, color, 0, 0, interlaced ? 1 : 0], 8);
  const data = Buffer.from(rows.flatMap((row) => [0, ...row]));
  return Buffer.concat([Buffer.from('89504e470d0a1a0a', 'hex'), chunk('IHDR', header), ...extra, chunk('IDAT', deflateSync(data)), chunk('IEND', Buffer.alloc(0))]);
}

const pixels = (bytes: Uint8Array) => [...decodeImage(bytes, 'a.png').data];
const rgb = (width: number, height: number) => ({ width, height, data: Uint8Array.from({ length: width * height * 3 }, (_, i) => (i * 37) % 256) });

describe('PNG', () => {
  it('gives back what was encoded, and equal bytes for equal images', () => {
    const image = rgb(7, 5);
    expect(decodeImage(encodePng(image), 'a.png')).toEqual(image);
    expect(encodePng(image)).toEqual(encodePng(rgb(7, 5)));
  });

  it('reads grey of 1, 8 and 16 bits', () => {
    expect(pixels(png({ width: 2, height: 1, depth: 1, color: 0 }, [[0b01000000]]))).toEqual([0, 0, 0, 255, 255, 255]);
    expect(pixels(png({ width: 2, height: 1, depth: 8, color: 0 }, [[10, 200]]))).toEqual([10, 10, 10, 200, 200, 200]);
    expect(pixels(png({ width: 1, height: 1, depth: 16, color: 0 }, [[0x80, 0x80]]))).toEqual([128, 128, 128]);
  });

  it('reads 16-bit RGB', () => {
    expect(pixels(png({ width: 1, height: 1, depth: 16, color: 2 }, [[255, 255, 64, 64, 0, 0]]))).toEqual([255, 64, 0]);
  });

  it('reads a palette, with transparent entries on white', () => {
    const palette = chunk('PLTE', Buffer.from([255, 0, 0, 0, 0, 200]));
    const header = { width: 2, height: 1, depth: 8, color: 3 };
    expect(pixels(png(header, [[1, 0]], [palette]))).toEqual([0, 0, 200, 255, 0, 0]);
    expect(pixels(png(header, [[1, 0]], [palette, chunk('tRNS', Buffer.from([255, 0]))]))).toEqual([255, 255, 255, 255, 0, 0]);
  });

  it('composes alpha on white', () => {
    expect(pixels(png({ width: 2, height: 1, depth: 8, color: 6 }, [[100, 0, 0, 51, 1, 2, 3, 0]]))).toEqual([224, 204, 204, 255, 255, 255]);
    expect(pixels(png({ width: 1, height: 1, depth: 8, color: 4 }, [[0, 128]]))).toEqual([127, 127, 127]);
  });

  it('reads an interlaced image as its plain twin', () => {
    const image = rgb(8, 8);
    const passes = [[0, 0, 8, 8], [4, 0, 8, 8], [0, 4, 4, 8], [2, 0, 4, 4], [0, 2, 2, 4], [1, 0, 2, 2], [0, 1, 1, 2]] as const; // x, y, step x, step y
    const rows = passes.flatMap(([x0, y0, dx, dy]) => {
      const of: number[][] = [];
      for (let y = y0; y < 8; y += dy) {
        const row: number[] = [];
        for (let x = x0; x < 8; x += dx) row.push(...image.data.subarray((y * 8 + x) * 3, (y * 8 + x) * 3 + 3));
        of.push(row);
      }
      return of;
    });
    expect(decodeImage(png({ width: 8, height: 8, depth: 8, color: 2, interlaced: true }, rows), 'a.png')).toEqual(image);
  });
});

describe('JPEG', () => {
  const image = { width: 16, height: 8, data: Buffer.alloc(16 * 8 * 4, 120) };
  const bytes = new Uint8Array(jpeg.encode(image, 95).data);

  it('is told by content, whatever the name', () => {
    const { width, height, data } = decodeImage(bytes, 'a.png');
    expect([width, height, data.length]).toEqual([16, 8, 16 * 8 * 3]);
    expect(Math.max(...data.map((x) => Math.abs(x - 120)))).toBeLessThan(3);
  });

  it('is refused at whatever byte it is cut off', () => {
    for (let length = 2; length < bytes.length; length += 7) expect(() => decodeImage(bytes.subarray(0, length), 'cut.jpg')).toThrow(/^cut\.jpg: a damaged JPEG/);
  });
});

describe('damaged and foreign bytes', () => {
  it('names the file of a PNG cut off at any byte', () => {
    const bytes = encodePng(rgb(9, 9));
    for (let length = 4; length < bytes.length; length += 5) expect(() => decodeImage(bytes.subarray(0, length), 'cut.png')).toThrow(/^cut\.png: a damaged PNG/);
    expect(() => decodeImage(bytes.subarray(0, 60), 'cut.png')).toThrow('the file ends too early');
  });

  it('says what else it found', () => {
    expect(() => decodeImage(new Uint8Array(), 'x.png')).toThrow('x.png: an empty file');
    expect(() => decodeImage(Buffer.from('GIF89a..'), 'x.png')).toThrow('a GIF image, where a PNG or JPEG image was expected');
    expect(() => decodeImage(Buffer.from('hello'), 'x.png')).toThrow(DataError);
  });

  it('refuses a header that claims a huge image before making room for it', () => {
    const bytes = png({ width: 1, height: 1, depth: 8, color: 0 }, [[0]]);
    bytes.writeUInt32BE(100_000, 16);
    bytes.writeUInt32BE(100_000, 20);
    expect(() => decodeImage(bytes, 'big.png')).toThrow('big.png: a damaged PNG image');
    expect(() => decodeImage(bytes, 'big.png')).toThrow('100000x100000');
  });
});
