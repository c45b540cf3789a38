// A grey picture at full bit depth, its smaller copies, and the window through which it is looked at.

export type Samples = Uint8Array | Uint16Array;

export interface Level {
  samples: Samples;
  width: number;
  height: number;
}

export interface Window {
  low: number;
  high: number;
}

export class GreyPicture {
  private readonly levels: Level[];

  constructor(
    samples: Samples,
    readonly width: number,
    readonly height: number,
    readonly presented: Window,
  ) {
    this.levels = [{ samples, width, height }];
  }

  get whole(): Level {
    return this.levels[0]!;
  }

  get valueCount(): number {
    return this.whole.samples instanceof Uint8Array ? 256 : 65536;
  }

  // The picture halved so many times; made when first asked for.
  halved(times: number): Level {
    while (this.levels.length <= times) this.levels.push(half(this.levels.at(-1)!));
    return this.levels[times]!;
  }

  valueAt(x: number, y: number): number | null {
    const [column, row] = [Math.floor(x), Math.floor(y)];
    if (column < 0 || row < 0 || column >= this.width || row >= this.height) return null;
    return this.whole.samples[row * this.width + column]!;
  }
}

// Each value is the mean of two by two; an odd last row or column stands for itself.
function half({ samples, width, height }: Level): Level {
  const [wide, high] = [Math.ceil(width / 2), Math.ceil(height / 2)];
  const made = samples instanceof Uint8Array ? new Uint8Array(wide * high) : new Uint16Array(wide * high);
  for (let row = 0; row < high; row++) {
    const upper = 2 * row * width;
    const lower = Math.min(2 * row + 1, height - 1) * width;
    for (let column = 0; column < wide; column++) {
      const left = 2 * column;
      const right = Math.min(left + 1, width - 1);
      const sum = samples[upper + left]! + samples[upper + right]! + samples[lower + left]! + samples[lower + right]!;
      made[row * wide + column] = (sum + 2) >> 2;
    }
  }
  return { samples: made, width: wide, height: high };
}

// Value -> opaque grey pixel as canvas memory holds it (all supported machines are little-endian).
export function lookUp({ low, high }: Window, invert: boolean, valueCount: number): Uint32Array {
  const table = new Uint32Array(valueCount);
  const scale = 255 / Math.max(high - low, 1);
  for (let value = 0; value < valueCount; value++) {
    const grey = Math.min(255, Math.max(0, Math.round((value - low) * scale)));
    const shown = invert ? 255 - grey : grey;
    table[value] = 0xff000000 | (shown << 16) | (shown << 8) | shown;
  }
  return table;
}

// Luminance of a decoded picture (ITU-R BT.601, as the server weighs it).
export function greyOf(image: ImageData): GreyPicture {
  const { data, width, height } = image;
  const samples = new Uint8Array(width * height);
  for (let index = 0, at = 0; index < samples.length; index++, at += 4) {
    samples[index] = (data[at]! * 299 + data[at + 1]! * 587 + data[at + 2]! * 114 + 500) / 1000;
  }
  return new GreyPicture(samples, width, height, { low: 0, high: 255 });
}
