// What the browser itself makes of a file: its grey values to look at, and a small copy for the gate.

import { config } from "./config";
import { greyOf, type GreyPicture } from "./grey";

const MOST_PIXELS = 64_000_000;
const AS_IT_IS_BYTES = 200_000; // a file this small, no larger than a preview, is its own preview

export interface Opened {
  small: Blob;
  pixels: () => GreyPicture;
}

function drawn(bitmap: ImageBitmap, width: number, height: number): CanvasRenderingContext2D {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  const pen = canvas.getContext("2d", { willReadFrequently: true })!;
  pen.imageSmoothingQuality = "high";
  pen.drawImage(bitmap, 0, 0, width, height);
  return pen;
}

function pixelsOf(bitmap: ImageBitmap): GreyPicture {
  const { width, height } = bitmap;
  return greyOf(drawn(bitmap, width, height).getImageData(0, 0, width, height));
}

// Null where the browser cannot show the file (DICOM, TIFF) or it is too large to be opened here.
export async function openHere(file: Blob): Promise<Opened | null> {
  let bitmap: ImageBitmap;
  try {
    bitmap = await createImageBitmap(file, { imageOrientation: "from-image" });
  } catch {
    return null;
  }
  const { width, height } = bitmap;
  if (width * height > MOST_PIXELS) return null;
  const scale = Math.min(1, config.previewSide / Math.max(width, height));
  const size = (side: number): number => Math.max(1, Math.round(side * scale));
  const asItIs = scale === 1 && file.size <= AS_IT_IS_BYTES;
  const small = asItIs ? file : jpeg(drawn(bitmap, size(width), size(height)).canvas);
  return { small, pixels: () => pixelsOf(bitmap) };
}

// At once; `toBlob` would wait for an idle moment, up to a second.
function jpeg(canvas: HTMLCanvasElement): Blob {
  const [, text = ""] = canvas.toDataURL("image/jpeg", 0.92).split(",");
  return new Blob([Uint8Array.from(atob(text), (character) => character.charCodeAt(0))], { type: "image/jpeg" });
}

// A picture the server made of a file that the browser cannot show.
export async function openUrl(url: string): Promise<GreyPicture> {
  const image = new Image();
  image.src = url;
  await image.decode();
  return pixelsOf(await createImageBitmap(image));
}
