# %% [markdown]
# # A zeolite particle in an in-situ cell: 51 projections over 70°
#
# The frame of an in-situ cell often leaves only a part of the rotation. Figs 6 and 7 of the GANrec paper (X. Yang *et al.*,
# *J. Synchrotron Rad.* **27**, 486–493, 2020) show a zeolite particle from 51 projections between −35° and 35°, 1.4° apart: 110° are missing.
# Its pores are then segmented and rendered in three dimensions.
#
# The paper's scan is not public, so this notebook simulates one of a phantom with known pores: a convex particle of 3.2 µm with spherical pores of
# 120 to 600 nm, in a field of view of 4.6 µm. The truth is known, and so is the error of each pore volume.
#
# It runs with and without TomoPy; methods whose package is missing are left out, and the reason is printed.

# %% [markdown]
# ## Size of the run: change it here
#
# `quick` is a test of the notebook, its images mean little. `minutes` takes some minutes on one core. `full` has the paper's size, for a GPU: hours.
# The environment variable `GANREC_NOTEBOOK_SIZE` sets it, too. What is finished is kept in `results/`, and a second run goes on from there.

# %%
import os

SIZE = os.environ.get("GANREC_NOTEBOOK_SIZE", "minutes")  # "quick", "minutes" or "full"

# %%
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import torch
from IPython.display import Markdown, display
from matplotlib.colors import ListedColormap
from scipy.ndimage import gaussian_filter, label
from skimage.filters import threshold_otsu
from skimage.measure import marching_cubes
from skimage.morphology import convex_hull_image

from tomopy_ganrec import ParallelBeamProjector, phantoms
from tomopy_ganrec.benchmark import cases, methods, protocol, run, tables
from tomopy_ganrec.benchmark.results import Results

# %matplotlib inline
plt.rcParams["figure.dpi"] = 90

settings = {
    "quick": dict(size=32, slices=4, spacing=5, oversample=2),
    "minutes": dict(size=96, slices=36, spacing=2, oversample=4),
    "full": dict(size=256, slices=192, spacing=1, oversample=4),
}[SIZE]
size, slices, spacing, oversample = settings.values()
PHOTONS, SEED = 1e5, 0
device = "cuda" if torch.cuda.is_available() else "cpu"

case = cases.Case("zeolite", size, cases.INSITU, PHOTONS, "subpixel", oversample)
theta = cases.Wedge(case.wedge).theta
pixel = 1000 * phantoms.ZEOLITE_FIELD_OF_VIEW / size  # nm
print(f"{slices} slices of {size}² pixels of {pixel:.0f} nm, {spacing * pixel:.0f} nm apart")
print(f"{len(theta)} projections from {np.rad2deg(theta[0]):.0f}° to {np.rad2deg(theta[-1]):.0f}°, {PHOTONS:.0e} photons a detector column")

# %% [markdown]
# ## The object and its projections
#
# The particle is drawn finer than the detector and projected by exact strip integrals, so that no method reconstructs with the operator that made
# the data, and pixels at a pore's edge have values between 0 and 1. The truth is the area mean. Poisson noise: the largest line integral of a slice is
# taken as an attenuation of 2.

# %%
fine = phantoms.zeolite(size * oversample, slices, SEED, spacing=spacing * oversample)
truth = fine.reshape(slices, size, oversample, size, oversample).mean((2, 4))
particle = phantoms.zeolite(size, slices, SEED, oversample=oversample, spacing=spacing, envelope=True)  # without its pores
sinograms = np.stack([protocol.simulate(fine[k : k + 1], theta, "subpixel", oversample, PHOTONS, (SEED, k))[0] for k in range(slices)])
del fine
print(f"pores: {1 - truth.sum() / particle.sum():.3f} of the particle's volume; the outer slices hold {particle[[0, -1]].mean((1, 2))} of particle")

# %% [markdown]
# ## Methods
#
# Filtered back projection, SART, TomoPy's PML-hybrid, total variation (TV), and GANrec in its default preset, without and with grey levels that it looks
# for itself (`levels='auto'`). TV and GANrec set their strength from the noise in the sinogram, by the same rule; none sees the truth.
#
# TomoPy's PML-hybrid divides by the model's projection, which falls to 0 in the air around the particle: 200 iterations in one call end in NaN for
# most noisy slices of this object, also with negative data set to 0. Here the 200 iterations are made in steps of 10, and data and image are kept
# above 0.001.


# %%
def pml_hybrid(problem):
    import tomopy

    sinogram, theta, center = problem.measured
    options = dict(sinogram_order=True, algorithm="pml_hybrid", num_iter=10, reg_par=np.float32([1, 0.1]), ncore=1)
    image = np.full((1, len(sinogram[0]), len(sinogram[0])), 0.001, np.float32)
    for _ in range(20):
        image = tomopy.recon(sinogram[None].clip(0.001), theta, center, init_recon=image.clip(0.001), **options)
    return image[0]


selected = [
    replace(method, run=pml_hybrid, parameters="20 × 10 iterations, reg_par = 1, 0.1, data and image ≥ 0.001")
    if method.name == "pml_hybrid"
    else method
    for method in methods.chosen(["fbp", "astra-sart", "pml_hybrid", "tv", "ganrec", "ganrec-levels"])
]
for method in selected:
    print(f"{method.label}: {method.unavailable and 'left out: ' + method.unavailable or method.parameters}")


# %%
def task(k):
    def load():
        projector = ParallelBeamProjector(size, theta, size, device=device)
        return run.Measurement(projector, torch.from_numpy(sinograms[k : k + 1]).to(device), truth[k])

    return run.Task(case.columns | dict(slice=k, object_seed=SEED), load)


results = Results(f"results/insitu_zeolite-{SIZE}")
everything = run.cells([task(k) for k in range(slices)], selected)
todo = run.pending(results, everything)
print(f"{len(everything)} reconstructions, {len(everything) - len(todo)} finished before")
failed = run.run(results, todo, progress=False)
rows = [row for row in results.rows() if row["method"] in {method.name for method in selected}]
print(f"{failed} failed")
for row in rows:
    if row["status"] != "ok":
        print(f"  {row['label']}, slice {row['slice']}: {row['error']}")

# %% [markdown]
# ## Fig. 6: slices
#
# Above, the middle slice; below, the section along the rotation axis and the beam at 0°, which runs from top to bottom of the upper images and from left
# to right in the lower ones. The missing directions are those of edges along the middle of the wedge: features are drawn out along the beam.

# %%
volumes = {"truth": truth}
for method in selected:
    found = {row["slice"]: row["image"] for row in rows if row["method"] == method.name and row["status"] == "ok"}
    if len(found) == slices:
        volumes[method.label] = np.stack([results.image(found[k]) for k in range(slices)])
middle, extent = slices // 2, (0, size * pixel / 1000, 0, slices * spacing * pixel / 1000)


def sections(volumes, title, **options):
    """The middle slice and the section along the axis and the beam of each volume, in µm."""
    figure, axes = plt.subplots(
        2, len(volumes), figsize=(2.1 * len(volumes) + 0.4, 4.6), layout="constrained", height_ratios=(1, extent[3] / extent[1])
    )
    for column, (name, volume) in zip(axes.T, volumes.items(), strict=True):
        column[0].imshow(volume[middle], extent=(0, extent[1], extent[1], 0), interpolation="nearest", **options)
        column[1].imshow(volume[:, :, size // 2], extent=extent, origin="lower", interpolation="nearest", **options)
        column[0].set_title(name, fontsize=10)
        for axis in column:
            axis.tick_params(labelsize=8)
            axis.label_outer()
    axes[0, 0].set_ylabel("y, beam (µm)", fontsize=9)
    axes[1, 0].set_ylabel("z, axis (µm)", fontsize=9)
    figure.supxlabel("above: x (µm); below: y, beam (µm)", fontsize=9)
    figure.suptitle(title, fontsize=11)
    return figure, axes


sections(volumes, f"zeolite, {len(theta)} projections over 70°, {PHOTONS:.0e} photons; grey window 0 to 1", cmap="gray", vmin=0, vmax=1)
plt.show()

# %% [markdown]
# MSSIM of the slices, mean ± standard deviation (the slices near the poles hold much air and little particle, which raises the mean of all
# methods), relative root mean square residual of the data, and seconds a slice.

# %%
names = [method.name for method in selected]
for value, text in (("mssim", "MSSIM"), ("rmse", "RMSE"), ("residual", "data residual"), ("seconds", "seconds")):
    display(Markdown(f"{text}:\n\n" + tables.method_table(rows, names, value, "md", by="case")))

# %% [markdown]
# ## Fig. 7: pores
#
# Segmentation, the same for all, by what the reconstruction itself shows: Otsu's threshold of the volume separates framework from pores and air. The particle
# is known to be convex, so the convex hull of the largest connected piece of framework stands for its envelope, and what is in the hull and
# not framework counts as pore. An object that is not convex needs another envelope.


# %%
def segmented(volume):
    """Framework and envelope of a volume, boolean."""
    solid = volume > threshold_otsu(volume)
    pieces, _ = label(solid)
    largest = pieces == np.bincount(pieces.ravel())[1:].argmax() + 1
    envelope = convex_hull_image(largest, offset_coordinates=False)
    return solid & envelope, envelope


found = {name: segmented(volume) for name, volume in volumes.items()}
true_envelope = particle > 0.5
true_pores = true_envelope & (truth <= 0.5)
classes = {name: envelope + solid.astype(np.int8) for name, (solid, envelope) in found.items()}  # 0 air, 1 pore, 2 framework
figure, axes = sections(
    classes,
    "segmented: air white, pores blue, framework grey; red: the true pores",
    cmap=ListedColormap(["white", "#4C9BD5", "0.55"]),
    vmin=0,
    vmax=2,
)
for column in axes.T:
    column[0].contour(true_pores[middle], [0.5], colors="#C1121F", linewidths=0.6, extent=(0, extent[1], 0, extent[1]))
    column[1].contour(true_pores[:, :, size // 2], [0.5], colors="#C1121F", linewidths=0.6, extent=extent)
plt.show()

# %% [markdown]
# The framework in three dimensions, cut open along the middle slice: the upper half is taken off.

# %%
voxel = np.array([spacing, 1, 1]) * pixel / 1000  # µm
step = max(1, size // 96)
figure = plt.figure(figsize=(14, 3.6 * ((len(found) + 3) // 4)), layout="constrained")
for k, (name, (solid, _)) in enumerate(found.items()):
    half = gaussian_filter(np.pad(solid[: middle + 1], 2).astype(np.float32), 0.6)
    vertices, faces, _, _ = marching_cubes(half, 0.5, spacing=tuple(voxel), step_size=step)
    z, y, x = vertices.T
    axis = figure.add_subplot((len(found) + 3) // 4, min(4, len(found)), k + 1, projection="3d")
    axis.plot_trisurf(x, y, faces, z, color="#D9C7A0", linewidth=0, antialiased=False)
    axis.set(title=name, xlim=(0.6, extent[1] - 0.4), ylim=(0.6, extent[1] - 0.4), zlim=(0, 2.0))
    axis.set_box_aspect((extent[1] - 1, extent[1] - 1, 2.0), zoom=1.5)
    axis.view_init(elev=50, azim=-60)
    axis.set_axis_off()
plt.show()

# %% [markdown]
# ### Pore volume
#
# The pore volume fraction, with the envelope found in the reconstruction and, for reference, with the true one; the volume of the found envelope relative to the
# true one; and the Dice coefficient of the pores with the true pores, 1 where they agree voxel by voxel. A fraction can be right by errors that cancel,
# so the Dice coefficient should be read first. The first line is the truth through the same segmentation: what voxels and hull cost.

# %%
true_fraction = 1 - truth.sum() / particle.sum()
body, bars = [], {}
for name, (solid, envelope) in found.items():
    pores = envelope & ~solid
    fraction, inside = pores.sum() / envelope.sum(), 1 - solid[true_envelope].mean()
    dice = 2 * (pores & true_pores).sum() / (pores.sum() + true_pores.sum())
    bars[name] = fraction, inside, dice
    body.append(
        [name, f"{fraction:.3f}", f"{fraction - true_fraction:+.3f}", f"{inside:.3f}", f"{envelope.sum() / true_envelope.sum():.3f}", f"{dice:.3f}"]
    )
header = ["", "pore fraction", "error", "in the true envelope", "envelope / true", "Dice of pores"]
display(Markdown(f"True pore fraction: {true_fraction:.3f}\n\n" + tables.markup_table(header, body, "md")))

# %%
figure, axes = plt.subplots(1, 2, figsize=(11, 3.6), layout="constrained", sharey=True)
places = np.arange(len(bars))
fractions, inside, dice = np.transpose(list(bars.values()))
axes[0].barh(places - 0.2, fractions, 0.38, color="#0072B2", label="envelope from the reconstruction")
axes[0].barh(places + 0.2, inside, 0.38, color="#9CCBE8", label="true envelope")
axes[0].axvline(true_fraction, color="black", linewidth=1.2, label="truth")
axes[0].set(xlabel="pore volume fraction", yticks=places, yticklabels=list(bars))
axes[0].invert_yaxis()
axes[0].legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=3, frameon=False)
axes[1].barh(places, dice, 0.6, color="#009E73")
axes[1].set(xlabel="Dice coefficient of the pores", xlim=(0, 1))
for axis in axes:
    axis.grid(axis="x", alpha=0.3)
    axis.set_axisbelow(True)
plt.show()
