"""Nodes for the tests: volumes of any orientation, segments, transforms; and slice views without a screen."""

import copy

import numpy as np
import SimpleITK as sitk
import slicer
import vtk
from conftest import ct_like, rotation
from GTRStagingSlicer import nodes, samples
from vtk.util import numpy_support


def oblique(seed=0):
    """Anisotropic, turned by 25° about an oblique axis."""
    return ct_like(direction=rotation((0.3, 0.5, 1.0), 25), seed=seed)


def flipped(seed=0):
    """Left-handed: x and z run against LPS, y does not."""
    return ct_like(direction=np.diag([-1.0, 1.0, -1.0]) @ rotation((0, 0, 1), 8), seed=seed)


def mirrored(seed=0):
    """Of a negative determinant: only z runs backwards."""
    return ct_like(direction=np.diag([1.0, 1.0, -1.0]), seed=seed)


def permuted(seed=0):
    """Stored coronal: the axial stack is the second axis."""
    return sitk.PermuteAxes(ct_like(seed=seed), (0, 2, 1))


ORIENTATIONS = {f.__name__: f for f in (ct_like, oblique, flipped, mirrored, permuted)}


def add_volume(scene, image, name="CT"):
    return samples.add_ct(scene, image, name)


def add_transform(scene, matrix, name="transform"):
    node = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", name)
    node.SetMatrixTransformToParent(nodes.vtk_matrix(matrix))
    return node


def rigid(axis, degrees, shift=(0.0, 0.0, 0.0)):
    matrix = np.eye(4)
    matrix[:3, :3] = rotation(axis, degrees)
    matrix[:3, 3] = shift
    return matrix


def bend(scene, amplitude_mm=6.0):
    """A transform that is not a matrix: a thin-plate spline."""
    source, target = vtk.vtkPoints(), vtk.vtkPoints()
    for x in (-80, 80):
        for y in (-80, 80):
            for z in (-440, -340):
                source.InsertNextPoint(x, y, z)
                target.InsertNextPoint(x, y + amplitude_mm * (x > 0) * (z > -400), z)
    spline = vtk.vtkThinPlateSplineTransform()
    spline.SetSourceLandmarks(source)
    spline.SetTargetLandmarks(target)
    spline.SetBasisToR()
    node = scene.AddNewNodeByClass("vtkMRMLTransformNode", "bend")
    node.SetAndObserveTransformToParent(spline)
    return node


def box(image, x=slice(12, 30), y=slice(14, 28), z=slice(3, 6)):
    """A 0/1 box on an image's grid, by indices of its own axes."""
    size = image.GetSize()
    array = np.zeros(size[::-1], dtype=np.uint8)
    array[z, y, x] = 1
    mask = sitk.GetImageFromArray(array)
    mask.CopyInformation(image)
    return mask


def array_of(volume):
    return nodes.array_of(volume.GetImageData())


def node_ids(scene):
    return sorted(scene.GetNthNode(i).GetID() for i in range(scene.GetNumberOfNodes()))


def as_version_1_2(record):
    """A record as schema 1.2 had it, of a result that could be made then."""
    old = copy.deepcopy(record)
    old.update(schema="urn:gtrstaging:result:1.2", schema_version="1.2", crop={"centre": "image", "shift": [0, 0]})
    (old["attention"]["layer"],) = old["attention"].pop("layers")
    del old["attention"]["mapped"], old["prediction"]["set"], old["prediction"]["stability"]
    for name in ("head", "masks", "mean_mask_sha256", "check", "check_in_words", "familiarity"):
        del old["model"][name]
    del old["familiarity"]
    if (agreement := old["agreement"]) is not None:
        for cut in (agreement, agreement["otsu"], *agreement["sweep"]):
            del cut["blob_dice"], cut["mean_mask_dice"]
        agreement["reasons"].pop("mean mask", None)
    return old


class SliceView:
    """A slice view of the scene, rendered to RGBA without OpenGL.

    Parameters
    ----------
    orientation
        "Axial", "Sagittal" or "Coronal".
    """

    def __init__(self, bare, orientation="Axial", name="Red", size=(256, 256)):
        self.scene = bare.scene
        slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(self.scene)
        self.logic = slicer.vtkMRMLSliceLogic()
        self.logic.SetMRMLApplicationLogic(bare.application)
        self.logic.SetMRMLScene(self.scene)
        self.node = self.logic.AddSliceNode(name)
        self.node.SetOrientation(orientation)
        self.node.SetDimensions(*size, 1)
        self.size = size

    @property
    def composite(self):
        return self.logic.GetSliceCompositeNode()

    def show(self, ras, fit=None):
        """Centre the view on a point; `fit` mm are its width."""
        if fit is not None:
            self.node.SetFieldOfView(fit, fit * self.size[1] / self.size[0], 1)
        self.node.JumpSliceByCentering(*ras)

    def picture(self):
        """(rows, columns, 4) uint8, the first row at the top."""
        self.logic.UpdatePipeline()
        connection = self.logic.GetImageDataConnection()
        connection.GetProducer().Update()
        data = connection.GetProducer().GetOutputDataObject(connection.GetIndex())
        shape = (*data.GetDimensions()[1::-1], -1)
        return numpy_support.vtk_to_numpy(data.GetPointData().GetScalars()).reshape(shape)[::-1].copy()

    def pixel(self, ras):
        """(row, column) of a point, in the picture's order."""
        to_xy = vtk.vtkMatrix4x4()
        vtk.vtkMatrix4x4.Invert(self.node.GetXYToRAS(), to_xy)
        x, y, _z, _w = to_xy.MultiplyPoint((*ras, 1.0))
        return round(self.size[1] - 1 - y), round(x)
