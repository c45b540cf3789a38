// The two kinds of picture that OpenSeadragon draws for us: grey seen through a window, and coloured layers.

import OpenSeadragon from "openseadragon";
import { type GreyPicture, lookUp, type Window } from "./grey";

const SIDE = 512;
const OVERLAP = 1;
const SMALLEST_LEVEL = 8; // the copy whose long side is at most 256 pixels
let count = 0;

interface Painted {
  level: number;
  column: number;
  row: number;
  version: number;
}

interface Job {
  src: string;
  finish(data: CanvasRenderingContext2D, request: null, kind: "context2d"): void;
}

function canvas(width: number, height: number): CanvasRenderingContext2D {
  const made = document.createElement("canvas");
  made.width = width;
  made.height = height;
  return made.getContext("2d", { willReadFrequently: true })!;
}

// Tiles of a grey picture. `look` changes the window; each tile is painted anew when it is next drawn.
export class GreySource extends OpenSeadragon.TileSource {
  private readonly name = `grey-${count++}`;
  private readonly painted = new WeakMap<CanvasRenderingContext2D, Painted>();
  private table: Uint32Array;
  private version = 0;

  constructor(
    readonly picture: GreyPicture,
    window: Window,
    invert: boolean,
  ) {
    super({
      width: picture.width,
      height: picture.height,
      tileSize: SIDE,
      tileOverlap: OVERLAP,
      minLevel: Math.min(SMALLEST_LEVEL, Math.ceil(Math.log2(Math.max(picture.width, picture.height)))),
    } as OpenSeadragon.TileSourceOptions);
    this.table = lookUp(window, invert, picture.valueCount);
  }

  look(window: Window, invert: boolean): void {
    this.table = lookUp(window, invert, this.picture.valueCount);
    this.version += 1;
  }

  refresh(pen: CanvasRenderingContext2D): void {
    const place = this.painted.get(pen);
    if (place && place.version !== this.version) this.paint(pen, place);
  }

  override getTileUrl(level: number, x: number, y: number): string {
    return `${this.name}/${level}/${x}/${y}`;
  }

  override hasTransparency(): boolean {
    return false;
  }

  override downloadTileStart(job: unknown): void {
    const { src, finish } = job as Job;
    const [level = 0, column = 0, row = 0] = src.split("/").slice(1).map(Number);
    const { width, height } = this.area(level, column, row);
    const pen = canvas(width, height);
    const place = { level, column, row, version: -1 };
    this.painted.set(pen, place);
    this.paint(pen, place);
    finish.call(job, pen, null, "context2d");
  }

  override downloadTileAbort(): void {
    // nothing is ever under way
  }

  // Part of the picture at this level that a tile shows, with its overlap.
  private area(level: number, column: number, row: number): { x: number; y: number; width: number; height: number } {
    const whole = this.picture.halved(this.maxLevel - level);
    const x = Math.max(0, column * SIDE - OVERLAP);
    const y = Math.max(0, row * SIDE - OVERLAP);
    const width = Math.min(SIDE + (column ? 2 : 1) * OVERLAP, whole.width - x);
    const height = Math.min(SIDE + (row ? 2 : 1) * OVERLAP, whole.height - y);
    return { x, y, width, height };
  }

  private paint(pen: CanvasRenderingContext2D, place: Painted): void {
    const { x, y, width, height } = this.area(place.level, place.column, place.row);
    if (pen.canvas.width !== width) return; // let go by the cache
    const whole = this.picture.halved(this.maxLevel - place.level);
    const image = new ImageData(width, height);
    const pixels = new Uint32Array(image.data.buffer);
    for (let row = 0; row < height; row++) {
      const from = (y + row) * whole.width + x;
      for (let column = 0; column < width; column++) {
        pixels[row * width + column] = this.table[whole.samples[from + column]!]!;
      }
    }
    pen.putImageData(image, 0, 0);
    place.version = this.version;
  }
}

// A coloured, partly transparent picture to lay over a film, stretched to its size.
export class LayerSource extends OpenSeadragon.TileSource {
  private readonly name = `layer-${count++}`;

  constructor(private readonly image: HTMLImageElement) {
    const side = Math.max(image.naturalWidth, image.naturalHeight);
    super({
      width: image.naturalWidth,
      height: image.naturalHeight,
      tileSize: side,
      tileOverlap: 0,
      minLevel: Math.ceil(Math.log2(side)),
    } as OpenSeadragon.TileSourceOptions);
  }

  static async of(url: string): Promise<LayerSource> {
    const image = new Image();
    image.src = url;
    await image.decode();
    return new LayerSource(image);
  }

  override getTileUrl(): string {
    return this.name;
  }

  override hasTransparency(): boolean {
    return true;
  }

  override downloadTileStart(job: unknown): void {
    const pen = canvas(this.image.naturalWidth, this.image.naturalHeight);
    pen.drawImage(this.image, 0, 0);
    (job as Job).finish(pen, null, "context2d");
  }

  override downloadTileAbort(): void {
    // nothing is ever under way
  }
}
