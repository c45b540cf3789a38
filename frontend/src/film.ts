// One radiograph in the viewer: OpenSeadragon moves it, our own code windows it and lays things over it.

import OpenSeadragon from "openseadragon";
import { element } from "./element";
import type { GreyPicture, Window } from "./grey";
import type { Box } from "./interface";
import { Signal } from "./signal";
import { GreySource, LayerSource } from "./tiles";

const MOST_ZOOM = 16;
const COARSE_FROM = 3;

// OpenSeadragon would write a style sheet into the page, which our policy forbids, unless it finds its mark.
function forbidInlineStyle(): void {
  if (document.querySelector("style[data-openseadragon-mobile-css]")) return;
  const mark = document.createElementNS("urn:osteon", "style"); // named so, but no style sheet
  mark.setAttribute("data-openseadragon-mobile-css", "true");
  document.head.append(mark);
}

export interface Point {
  x: number;
  y: number;
}

export interface Rectangle extends Point {
  width: number;
  height: number;
}

export class Film {
  readonly element = element("div", { className: "film-canvas" });
  readonly moved = new Signal();
  readonly windowed = new Signal();
  picture: GreyPicture | null = null;
  window: Window = { low: 0, high: 255 };
  inverted = false;
  private readonly viewer: OpenSeadragon.Viewer;
  private source: GreySource | null = null;
  private turn = 0; // counts pictures, so that a layer that comes late is not laid over the next one
  private readonly layers = new Map<string, { url: string; opacity: number; item: OpenSeadragon.TiledImage | null }>();
  private fitted = true;
  private telling = false;

  constructor() {
    forbidInlineStyle();
    this.viewer = OpenSeadragon({
      element: this.element,
      drawer: "canvas",
      tabIndex: "-1",
      showNavigationControl: false,
      animationTime: 0.18,
      springStiffness: 9,
      blendTime: 0,
      immediateRender: true,
      maxZoomPixelRatio: MOST_ZOOM,
      minZoomImageRatio: 0.5,
      visibilityRatio: 0.15,
      smoothTileEdgesMinZoom: Infinity,
      zoomPerScroll: 1.15,
      autoResize: false, // see `resized`
      gestureSettingsMouse: { clickToZoom: false, dblClickToZoom: false, flickEnabled: false },
      gestureSettingsTouch: { clickToZoom: false, dblClickToZoom: false, pinchRotate: false, flickEnabled: false },
      gestureSettingsPen: { clickToZoom: false, dblClickToZoom: false, flickEnabled: false },
    } as unknown as OpenSeadragon.Options);
    this.viewer.addHandler("canvas-key", (event) => (event.preventDefaultAction = true));
    this.viewer.addHandler("canvas-double-click", () => this.fit());
    this.viewer.addHandler("canvas-drag", () => (this.fitted = false));
    this.viewer.addHandler("canvas-scroll", () => (this.fitted = false));
    this.viewer.addHandler("canvas-pinch", () => (this.fitted = false));
    this.viewer.addHandler("update-viewport", () => this.follow());
    this.viewer.addHandler("animation-finish", () => this.moved.tell());
    this.viewer.addHandler("tile-drawing", ({ rendered }) => this.source?.refresh(rendered as CanvasRenderingContext2D));
    new ResizeObserver(() => requestAnimationFrame(() => this.resized())).observe(this.element);
  }

  // A picture in place of what was shown; with `keep` zoom, turn and window stay (the same film, better pixels).
  show(picture: GreyPicture, { keep = false } = {}): void {
    const same = keep && this.picture !== null;
    const untouched = this.picture?.presented.low === this.window.low && this.picture.presented.high === this.window.high;
    this.picture = picture;
    if (!same || untouched || picture.valueCount !== this.source?.picture.valueCount) this.window = picture.presented;
    if (!same) this.stand();
    this.turn += 1;
    this.source = new GreySource(picture, this.window, this.inverted);
    this.put(this.source, same);
    this.windowed.tell();
  }

  private put(source: GreySource, keep: boolean): void {
    const { world } = this.viewer;
    const before = world.getItemCount() ? world.getItemAt(0) : null;
    if (!keep) this.clearLayers();
    this.viewer.addTiledImage({
      tileSource: source,
      index: 0,
      width: 1,
      success: () => {
        if (before) world.removeItem(before);
        if (source !== this.source) return;
        if (!keep) this.fit(true);
        else this.smooth();
        this.moved.tell();
      },
    } as unknown as OpenSeadragon.TileSourceSpecifier);
  }

  clear(): void {
    this.turn += 1;
    this.picture = null;
    this.source = null;
    this.layers.clear();
    this.viewer.world.removeAll();
    this.stand();
    this.moved.tell();
  }

  // Upright, not mirrored, not inverted.
  private stand(): void {
    this.inverted = false;
    this.viewer.viewport?.setRotation(0, true);
    this.viewer.viewport?.setFlip(false);
  }

  reset(): void {
    if (!this.picture) return;
    this.stand();
    this.look(this.picture.presented);
    this.fit();
  }

  look(window: Window, inverted = this.inverted): void {
    if (!this.source || !this.picture) return;
    const least = this.picture.valueCount > 256 ? 8 : 2;
    const middle = (window.low + window.high) / 2;
    const width = Math.max(window.high - window.low, least);
    this.window = { low: middle - width / 2, high: middle + width / 2 };
    this.inverted = inverted;
    this.source.look(this.window, inverted);
    this.viewer.forceRedraw();
    this.windowed.tell();
  }

  invert(): void {
    this.look(this.window, !this.inverted);
  }

  // Window and level by a drag: right is wider, down is darker.
  lookBy(dx: number, dy: number): void {
    const { presented } = this.picture ?? { presented: this.window };
    const step = (presented.high - presented.low) / 350;
    const width = this.window.high - this.window.low + dx * step;
    const middle = (this.window.low + this.window.high) / 2 + dy * step;
    this.look({ low: middle - width / 2, high: middle + width / 2 });
  }

  // Layers: pictures over the film, each with its opacity.

  lay(key: string, url: string | null, opacity: number): void {
    const known = this.layers.get(key);
    if (known && known.url === url) return this.fade(key, opacity);
    if (known?.item) this.viewer.world.removeItem(known.item);
    this.layers.delete(key);
    if (!url) return;
    const layer = { url, opacity, item: null as OpenSeadragon.TiledImage | null };
    this.layers.set(key, layer);
    const { turn } = this;
    void LayerSource.of(url)
      .then((source) => {
        if (turn !== this.turn || this.layers.get(key) !== layer) return this.layAgain(key, layer);
        this.viewer.addTiledImage({
          tileSource: source,
          opacity: layer.opacity,
          width: 1,
          success: ({ item }: { item: OpenSeadragon.TiledImage }) => {
            if (this.layers.get(key) !== layer) return this.viewer.world.removeItem(item);
            layer.item = item;
            item.setHeight(this.height, true);
            item.setOpacity(layer.opacity);
          },
        } as unknown as OpenSeadragon.TileSourceSpecifier);
      })
      .catch(() => this.layers.delete(key));
  }

  // The pixels of the same film were replaced while a layer was on its way.
  private layAgain(key: string, layer: { url: string; opacity: number }): void {
    if (this.layers.get(key) !== layer) return;
    this.layers.delete(key);
    this.lay(key, layer.url, layer.opacity);
  }

  fade(key: string, opacity: number): void {
    const layer = this.layers.get(key);
    if (!layer) return;
    layer.opacity = opacity;
    layer.item?.setOpacity(opacity);
  }

  laid(key: string): boolean {
    return (this.layers.get(key)?.opacity ?? 0) > 0;
  }

  private clearLayers(): void {
    for (const { item } of this.layers.values()) if (item) this.viewer.world.removeItem(item);
    this.layers.clear();
  }

  // Moving about.

  private get height(): number {
    return this.picture ? this.picture.height / this.picture.width : 1;
  }

  get size(): { width: number; height: number } {
    return { width: this.element.clientWidth, height: this.element.clientHeight };
  }

  get flipped(): boolean {
    return this.viewer.viewport?.getFlip() ?? false;
  }

  get rotation(): number {
    return this.viewer.viewport?.getRotation() ?? 0;
  }

  // Screen pixels of one picture pixel.
  get scale(): number {
    const { viewport } = this.viewer;
    if (!viewport || !this.picture) return 1;
    return (viewport.getZoom(true) * this.size.width) / this.picture.width;
  }

  fit(immediately = false): void {
    const { viewport } = this.viewer;
    if (!viewport || !this.picture || !this.size.width) return;
    this.fitted = true;
    viewport.fitBounds(this.bounds(), immediately);
    viewport.applyConstraints(immediately);
    this.smooth();
  }

  // The picture's place in the viewport's coordinates; turned by a quarter it stands about the same middle.
  private bounds(): OpenSeadragon.Rect {
    const height = this.height;
    if (this.rotation % 180 === 0) return new OpenSeadragon.Rect(0, 0, 1, height);
    return new OpenSeadragon.Rect(0.5 - height / 2, height / 2 - 0.5, height, 1);
  }

  actualSize(): void {
    if (!this.picture) return;
    this.fitted = false;
    this.viewer.viewport.zoomTo(this.picture.width / this.size.width / devicePixelRatio);
    this.viewer.viewport.applyConstraints();
  }

  zoomBy(factor: number): void {
    this.fitted = false;
    this.viewer.viewport.zoomBy(factor);
    this.viewer.viewport.applyConstraints();
  }

  panBy(dx: number, dy: number): void {
    this.fitted = false;
    const { viewport } = this.viewer;
    const across = this.flipped ? -dx : dx;
    const delta = viewport.deltaPointsFromPixels(new OpenSeadragon.Point(-across, -dy), true);
    viewport.panBy(delta.rotate(-this.rotation));
    viewport.applyConstraints();
  }

  rotateBy(degrees: number): void {
    const { viewport } = this.viewer;
    const turned = this.rotation + (this.flipped ? -degrees : degrees);
    viewport.setRotation(((turned % 360) + 360) % 360, true);
    if (this.fitted) this.fit(true);
  }

  flip(): void {
    this.viewer.viewport.setFlip(!this.flipped);
    this.viewer.forceRedraw();
    this.moved.tell();
  }

  // `room`: how much wider than the box the film shows.
  zoomTo([x0, y0, x1, y1]: Box, { room = 2.4 } = {}): void {
    if (!this.picture) return;
    this.fitted = false;
    const wide = Math.max(x1 - x0, y1 - y0, 24) * room;
    const [x, y] = [(x0 + x1 - wide) / 2, (y0 + y1 - wide) / 2];
    const unit = this.picture.width;
    this.viewer.viewport.fitBounds(new OpenSeadragon.Rect(x / unit, y / unit, wide / unit, wide / unit));
    this.viewer.viewport.applyConstraints();
  }

  // Between picture pixels and pixels of the film's element.

  toScreen(x: number, y: number): Point {
    const unit = this.picture?.width ?? 1;
    const point = this.viewer.viewport.pixelFromPoint(new OpenSeadragon.Point(x / unit, y / unit), true);
    return { x: this.flipped ? this.size.width - point.x : point.x, y: point.y };
  }

  toPicture(x: number, y: number): Point {
    const unit = this.picture?.width ?? 1;
    const across = this.flipped ? this.size.width - x : x;
    const point = this.viewer.viewport.pointFromPixel(new OpenSeadragon.Point(across, y), true);
    return { x: point.x * unit, y: point.y * unit };
  }

  onScreen([x0, y0, x1, y1]: Box): Rectangle {
    const [a, b] = [this.toScreen(x0, y0), this.toScreen(x1, y1)];
    return { x: Math.min(a.x, b.x), y: Math.min(a.y, b.y), width: Math.abs(a.x - b.x), height: Math.abs(a.y - b.y) };
  }

  private smooth(): void {
    const drawer = this.viewer.drawer as unknown as { setImageSmoothingEnabled(on: boolean): void };
    drawer.setImageSmoothingEnabled(this.scale < COARSE_FROM);
  }

  private follow(): void {
    if (this.telling) return;
    this.telling = true;
    requestAnimationFrame(() => {
      this.telling = false;
      this.moved.tell();
    });
  }

  private resized(): void {
    const { width, height } = this.size;
    if (!width || !height) return;
    this.viewer.viewport.resize(new OpenSeadragon.Point(width, height), true);
    if (this.fitted) this.fit(true);
    this.viewer.forceRedraw();
    this.moved.tell();
  }
}
