// Shows the CT of a case by niivue (global `niivue`): one axial slice, a window, the map, and a point on the slice.
// Points are [column, row] of voxels in axial LPS order, 0 at the patient's right and front.

const LARGEST = 8;

export class Viewer {
  #niivue;
  #canvas;
  #size = [1, 1, 1];

  slice = 0;
  level = 50;
  width = 350;

  constructor(canvas) {
    this.#canvas = canvas;
  }

  /** Throws if the browser has no WebGL 2. */
  async start() {
    this.#niivue = new niivue.Niivue({
      backColor: [0, 0, 0, 1], crosshairWidth: 0, isOrientationTextVisible: false, interactive: false, logLevel: "error",
      isRadiologicalConvention: true, isSliceMM: true, show3Dcrosshair: false, loadingText: "", isColorbar: false,
      dragAndDropEnabled: false,
    });
    await this.#niivue.attachToCanvas(this.#canvas, false);
    this.#niivue.setSliceType(this.#niivue.sliceTypeAxial);
  }

  clear() {
    if (!this.#niivue) return;
    while (this.#niivue.volumes.length) this.#niivue.removeVolumeByIndex(this.#niivue.volumes.length - 1);
    this.#niivue.drawScene();
  }

  /** Shows a CT, and its map if there is one, from buffers of NIfTI. */
  async show(ct, map) {
    this.clear();
    const first = await niivue.NVImage.new(ct, "ct.nii", "gray", 1);
    this.#size = first.hdr.dims.slice(1, 4);
    this.#niivue.addVolume(first);
    if (map) {
      // Shown from a quarter of its maximum, as in reports; the nearly white end of the colours is not used.
      const drawn = await niivue.NVImage.new(map, "map.nii", "inferno", 0, null, 64, 300);
      this.#niivue.addVolume(drawn);
    }
    this.resetView();
    this.setWindow(this.level, this.width);
  }

  set mapShown(shown) {
    if (this.#niivue.volumes.length > 1) this.#niivue.setOpacity(1, shown ? 0.45 : 0);
  }

  setSlice(index) {
    this.slice = index;
    this.#niivue.scene.crosshairPos = [0.5, 0.5, (index + 0.5) / this.#size[2]];
    this.#niivue.drawScene();
  }

  setWindow(level, width) {
    [this.level, this.width] = [level, width];
    const ct = this.#niivue.volumes[0];
    [ct.cal_min, ct.cal_max] = [level - width / 2, level + width / 2];
    this.#niivue.updateGLVolume();
  }

  resetView() {
    this.#niivue.setPan2Dxyzmm([0, 0, 0, 1]);
  }

  zoom(factor) {
    const [x, y, z, scale] = this.#niivue.scene.pan2Dxyzmm;
    this.#niivue.setPan2Dxyzmm([x, y, z, Math.min(LARGEST, Math.max(1, scale * factor))]);
  }

  /** Moves the image by CSS pixels. */
  pan(dx, dy) {
    const [x, y, z, scale] = this.#niivue.scene.pan2Dxyzmm;
    const mm = this.#millimetresPerPixel();
    this.#niivue.setPan2Dxyzmm([x - dx * mm, y - dy * mm, z, scale]);
  }

  #millimetresPerPixel() {
    const [a, b] = [this.#fraction(0, 0), this.#fraction(this.#canvas.clientWidth, 0)];
    if (a[0] < 0 || b[0] < 0 || a[0] === b[0]) return 0.5 / this.#niivue.scene.pan2Dxyzmm[3];
    const ct = this.#niivue.volumes[0];
    return (Math.abs(b[0] - a[0]) * this.#size[0] * ct.hdr.pixDims[1]) / this.#canvas.clientWidth;
  }

  #fraction(x, y) {
    const ratio = this.#canvas.width / this.#canvas.clientWidth;
    return this.#niivue.canvasPos2frac([x * ratio, y * ratio]);
  }

  /** Returns the point at a position of the canvas in CSS pixels; undefined beside the slice. */
  pointAt(x, y) {
    const [fx, fy, fz] = this.#fraction(x, y);
    if (![fx, fy].every((f) => f >= 0 && f <= 1) || fz < 0) return undefined;
    // niivue counts columns from the patient's left and rows from the back.
    return [(1 - fx) * this.#size[0] - 0.5, (1 - fy) * this.#size[1] - 0.5];
  }

  /** Returns the position of a point of the slice on the canvas in CSS pixels. */
  positionOf([column, row]) {
    const ratio = this.#canvas.width / this.#canvas.clientWidth;
    const fraction = [1 - (column + 0.5) / this.#size[0], 1 - (row + 0.5) / this.#size[1],
      (this.slice + 0.5) / this.#size[2]];
    return this.#niivue.frac2canvasPos(fraction)?.map((x) => x / ratio);
  }

  get middle() { return [(this.#size[0] - 1) / 2, (this.#size[1] - 1) / 2]; }
  within([column, row]) {
    return [Math.min(this.#size[0] - 1, Math.max(0, column)), Math.min(this.#size[1] - 1, Math.max(0, row))];
  }
}
