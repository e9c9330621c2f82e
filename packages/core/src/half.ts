/** The value of IEEE half precision `bits`, subnormals included. */
export function halfToFloat(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** The nearest half to the float32 of `bits`, ties to even: subnormals kept, infinity beyond 65519.99, NaN stays NaN. */
export function floatToHalf(bits: number): number {
  const sign = (bits >>> 16) & 0x8000;
  const magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00;
  if (magnitude >= 0x47800000) return sign | 0x7c00; // 2^16 and more
  // Normal halves: the exponent is rebiased by 112; a carry out of the rounded fraction is the next exponent.
  if (magnitude >= 0x38800000) return sign | ((magnitude + 0xfff + ((magnitude >>> 13) & 1) - 0x38000000) >>> 13);
  const exponent = magnitude >>> 23;
  const shift = 126 - exponent; // the value is fraction * 2^(exponent - 150), a step of a subnormal half is 2^-24
  if (shift > 24) return sign;
  const fraction = (magnitude & 0x7fffff) | 0x800000;
  const floor = fraction >>> shift;
  const rest = fraction & (2 ** shift - 1);
  const half = 2 ** (shift - 1);
  return sign | (floor + (rest > half || (rest === half && floor & 1) ? 1 : 0));
}

/** The nearest bfloat16 to the float32 of `bits`, ties to even: infinity beyond the greatest, NaN stays NaN. */
export function floatToBrain(bits: number): number {
  if ((bits & 0x7fffffff) > 0x7f800000) return (bits >>> 16) | 0x40;
  return (bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16;
}
