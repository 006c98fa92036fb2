"""Peers in VTK: flying edges, and the seven channels of two meshes drawn offscreen.

For each view, in place of our z-buffer: depth, world normals as colours and the owner from one
render of both meshes, masks from one render of each. Meshes are uploaded once, outside the timing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import vtk
from vtk.util.numpy_support import numpy_to_vtk, numpy_to_vtkIdTypeArray, vtk_to_numpy

from segmend.core.sample import GEOMETRY_SHAPE, IMAGE_SIZE
from segmend.render.camera import CAMERAS
from segmend.segments.mesh import Mesh


def flying_edges(mask: np.ndarray, voxel_size: Sequence[float]) -> Callable[[], object]:
    """A job: the surface of a mask with normals, in one thread. The mask is uploaded once."""
    vtk.vtkSMPTools.Initialize(1)
    image = vtk.vtkImageData()
    image.SetDimensions(*mask.shape[::-1])
    image.SetSpacing(*voxel_size[::-1])
    image.GetPointData().SetScalars(numpy_to_vtk(mask.astype(np.uint8).ravel(), deep=True))

    def job() -> object:
        edges = vtk.vtkFlyingEdges3D()
        edges.SetInputData(image)
        edges.SetValue(0, 0.5)
        edges.Update()
        return edges.GetOutput()

    return job


class VtkViews:
    """Two meshes in a window that is never shown."""

    def __init__(self, meshes: Sequence[Mesh], center_nm: tuple[float, ...], extent: float) -> None:
        self.extent = extent
        self.renderer = vtk.vtkRenderer()
        self.actors = [_actor(mesh, np.array(center_nm)) for mesh in meshes]
        for actor in self.actors:
            self.renderer.AddActor(actor)
        self.window = vtk.vtkRenderWindow()
        self.window.SetOffScreenRendering(1)
        self.window.SetMultiSamples(0)
        self.window.SetSize(IMAGE_SIZE, IMAGE_SIZE)
        self.window.AddRenderer(self.renderer)

    def render(self, dtype: type = np.float16) -> np.ndarray:
        """The geometry array ``(3, 7, 224, 224)``."""
        out = np.zeros(GEOMETRY_SHAPE, dtype)
        for view, camera in enumerate(CAMERAS.values()):
            self._look(camera)
            depth, colour = self._grab()
            seen = depth < 1
            out[view, 0], out[view, 1] = seen, np.where(seen, depth, 0)
            normals = np.where(seen[..., None], colour.astype(np.float32) / 127.5 - 1, 0)
            out[view, 2:5] = normals.transpose(2, 0, 1)
            for number, actor in enumerate(self.actors):
                for other in self.actors:
                    other.SetVisibility(other is actor)
                out[view, 5 + number] = self._grab_depth() < 1
            for actor in self.actors:
                actor.SetVisibility(True)
        return out

    def _look(self, camera: object) -> None:
        forward, up = np.zeros(3), np.zeros(3)
        forward[camera.forward[0]] = camera.forward[1]
        up[camera.up[0]] = camera.up[1]
        active = self.renderer.GetActiveCamera()
        active.ParallelProjectionOn()
        active.SetParallelScale(self.extent)
        active.SetFocalPoint(0, 0, 0)
        active.SetPosition(*(-2 * self.extent * forward))
        active.SetViewUp(*up)
        active.SetClippingRange(0.8 * self.extent, 3.2 * self.extent)

    def _grab_depth(self) -> np.ndarray:
        self.window.Render()
        values = vtk.vtkFloatArray()
        last = IMAGE_SIZE - 1
        self.window.GetZbufferData(0, 0, last, last, values)
        return vtk_to_numpy(values).reshape(IMAGE_SIZE, IMAGE_SIZE)[::-1]

    def _grab(self) -> tuple[np.ndarray, np.ndarray]:
        depth = self._grab_depth()
        colours = vtk.vtkUnsignedCharArray()
        last = IMAGE_SIZE - 1
        self.window.GetPixelData(0, 0, last, last, 0, colours, 0)
        return depth, vtk_to_numpy(colours).reshape(IMAGE_SIZE, IMAGE_SIZE, 3)[::-1]


def _actor(mesh: Mesh, center: np.ndarray) -> vtk.vtkActor:
    data = vtk.vtkPolyData()
    points = vtk.vtkPoints()
    local = np.ascontiguousarray((mesh.positions() - center)[:, ::-1].astype(np.float32))
    points.SetData(numpy_to_vtk(local, deep=True))
    data.SetPoints(points)
    cells = vtk.vtkCellArray()
    cells.SetData(3, numpy_to_vtkIdTypeArray(mesh.faces.astype(np.int64).ravel(), deep=True))
    data.SetPolys(cells)
    colours = np.rint((mesh.normals[:, ::-1] + 1) * 127.5).astype(np.uint8)
    data.GetPointData().SetScalars(numpy_to_vtk(np.ascontiguousarray(colours), deep=True))
    mapper = vtk.vtkPolyDataMapper()
    mapper.SetInputData(data)
    actor = vtk.vtkActor()
    actor.SetMapper(mapper)
    actor.GetProperty().LightingOff()
    return actor
