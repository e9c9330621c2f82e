import jpeg from 'jpeg-js';
import { PNG } from 'pngjs';
import { DataError, reasonOf } from './errors.ts';

/** Pixels row by row, three bytes (red, green, blue) each. */
export interface RgbImage {
  readonly width: number;
  readonly height: number;
  readonly data: Uint8Array; // [height, width, 3]
}

/** More pixels than this are taken for a damaged header. */
const PIXEL_LIMIT = 100e6;

/**
 * Decodes a PNG (grey, palette, alpha on white, 1 to 16 bits, interlaced) or a JPEG (grey, YCbCr, CMYK; EXIF rotation is
 * not applied). The kind is told by content, never by name. @throws DataError naming `file` for other or damaged bytes.
 */
export function decodeImage(bytes: Uint8Array, file: string): RgbImage {
  const kind = kindOf(bytes);
  try {
    if (kind === 'PNG') return decodePng(bytes);
    if (kind === 'JPEG') return decodeJpeg(bytes);
  } catch (e) {
    throw new DataError(`${file}: a damaged ${kind} image of ${bytes.length} bytes (${plain(reasonOf(e))}). Write the file again.`);
  }
  throw new DataError(`${file}: ${kind}, where a PNG or JPEG image was expected. Convert it to PNG.`);
}

/** An image as PNG bytes, 8-bit RGB. Equal images give equal bytes. */
export function encodePng({ width, height, data }: RgbImage): Uint8Array {
  const png = new PNG({ width, height, colorType: 2, inputColorType: 2, inputHasAlpha: false });
  png.data = Buffer.from(data.buffer, data.byteOffset, data.byteLength);
  return PNG.sync.write(png, { colorType: 2, inputColorType: 2, inputHasAlpha: false, filterType: 0, deflateStrategy: 0 });
}

const ascii = (bytes: Uint8Array, from: number, to: number) => String.fromCharCode(...bytes.subarray(from, to));

function kindOf(bytes: Uint8Array): string {
  if (bytes.length === 0) return 'an empty file';
  if (bytes[0] === 0x89 && ascii(bytes, 1, 4) === 'PNG') return 'PNG';
  if (bytes[0] === 0xff && bytes[1] === 0xd8) return 'JPEG';
  if (ascii(bytes, 0, 3) === 'GIF') return 'a GIF image';
  if (ascii(bytes, 0, 4) === 'RIFF' && ascii(bytes, 8, 12) === 'WEBP') return 'a WebP image';
  if (ascii(bytes, 0, 2) === 'BM') return 'a BMP image';
  return `${bytes.length} bytes of no known image format`;
}

function decodePng(bytes: Uint8Array): RgbImage {
  if (bytes.length < 24) throw new Error('the file ends too early');
  const header = new DataView(bytes.buffer, bytes.byteOffset + 16, 8);
  checkSize(header.getUint32(0), header.getUint32(4));
  const { width, height, data } = PNG.sync.read(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength));
  const out = new Uint8Array(width * height * 3);
  for (let from = 0, to = 0; from < data.length; from += 4, to += 3) {
    const alpha = data[from + 3]!;
    for (let c = 0; c < 3; c++) out[to + c] = alpha === 255 ? data[from + c]! : Math.round((data[from + c]! * alpha) / 255 + 255 - alpha);
  }
  return { width, height, data: out };
}

function decodeJpeg(bytes: Uint8Array): RgbImage {
  // The scan holds no marker, so the end marker comes after the last start of scan even when a thumbnail precedes it.
  if (lastMarker(bytes, 0xd9) < lastMarker(bytes, 0xda)) throw new Error('the file ends too early');
  const { width, height, data } = jpeg.decode(bytes, { useTArray: true, formatAsRGBA: false, tolerantDecoding: false, maxResolutionInMP: PIXEL_LIMIT / 1e6 });
  checkSize(width, height);
  return { width, height, data };
}

function lastMarker(bytes: Uint8Array, marker: number): number {
  for (let at = bytes.length - 2; at >= 0; at--) if (bytes[at] === 0xff && bytes[at + 1] === marker) return at;
  return -1;
}

function checkSize(width: number, height: number): void {
  if (width < 1 || height < 1 || width * height > PIXEL_LIMIT) throw new Error(`its header claims ${width}x${height} pixels`);
}

/** pngjs's wording for a stream that ends inside of a chunk, in plain words. */
function plain(reason: string): string {
  return reason.startsWith('There are some read requests') ? 'the file ends too early' : reason;
}
