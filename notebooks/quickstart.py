# %% [markdown]
# # From projections to a slice in five lines
#
# `ganrec` is an algorithm for `tomopy.recon`. It is made for a *missing wedge*: projections over an angular range of less than 180°,
# as in cells, furnaces and presses that block the beam. In a TomoPy script the call is:
#
# ```python
# import tomopy
# from tomopy_ganrec import ganrec
#
# proj = tomopy.minus_log(tomopy.normalize(proj, flat, dark))
# volume = tomopy.recon(proj, theta, center=c, algorithm=ganrec)
# ```
#
# Grid, centre, units (attenuation per pixel), dtype and shape are those of `algorithm='mlem'`. Without TomoPy, `tomopy_ganrec.recon(proj,
# theta, center=c)` is the same call.
#
# This notebook reconstructs a simulated shale slice from 0 to 120°, and compares the result with its truth. It runs with and without TomoPy.

# %%
import os

# Seconds between updates of a progress bar: few lines in what is kept of this notebook.
os.environ.setdefault("TQDM_MININTERVAL", "5")

import tempfile
import textwrap
import time
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch

warnings.filterwarnings("ignore", message="IProgress not found")  # bars are plain text where ipywidgets is missing
warnings.formatwarning = lambda message, *where, **more: f"Warning: {message}\n"

import tomopy_ganrec
from tomopy_ganrec import GanrecOptions, ParallelBeamProjector, ganrec, io, metrics
from tomopy_ganrec.benchmark import peers
from tomopy_ganrec.benchmark.cases import AngularRange, Case
from tomopy_ganrec.solvers.classical import fbp, mlem

try:
    import tomopy
except ImportError:
    tomopy = None

QUICK = os.environ.get("GANREC_NOTEBOOK_SIZE") == "quick"  # tiny, for tests: its numbers mean nothing
SIZE, FIT = (48, {"num_iter": 10}) if QUICK else (256, {})
print(
    "TomoPy", tomopy.__version__ if tomopy else "is not installed: tomopy_ganrec.recon takes the place of tomopy.recon"
)

# %% [markdown]
# ## The data
#
# The object is four times finer than the detector, so that pixels at the edge of a grain are partly filled, as in a measurement. Its projections
# are exact strip integrals: not the operator that reconstructs. There is one projection a degree from 0 to 119°, and no noise.
#
# TomoPy's order is (angles, slices, columns), its angles are in radians. The rotation axis is counted from the detector's **edge**: the middle is
# `columns / 2`. A centre from `tomopy.find_center*` is counted from the middle of the first column: add 0.5, or pass
# `center_convention='index'` (the notebook `real_tooth` shows what half a pixel does).

# %%
truth, sinogram = Case("shale", SIZE, "120", None, "subpixel").slice()
proj = sinogram[:, None, :]
theta = AngularRange("120").theta
center = SIZE / 2
print(
    f"proj {proj.shape} {proj.dtype}, theta {np.rad2deg(theta[0]):.0f} to {np.rad2deg(theta[-1]):.0f} degrees, center {center}"
)

# %% [markdown]
# ## The line that matters

# %%
began = time.perf_counter()
if tomopy:
    volume = tomopy.recon(proj, theta, center=center, algorithm=ganrec, options=FIT)  # this line
else:
    volume = tomopy_ganrec.recon(proj, theta, center=center, options=FIT)  # the same without TomoPy
print(
    f"volume {volume.shape} {volume.dtype}, {volume.min():.3f} to {volume.max():.3f} per pixel, {time.perf_counter() - began:.0f} s"
)

# %% [markdown]
# ## Beside gridrec and MLEM
#
# Three things to know when comparing with TomoPy's gridrec: its default `filter_name` filters nothing (pass `'shepp'` or `'parzen'`); it draws on a
# grid shifted by half a pixel (a whole one for odd sizes); and unpadded its filter wraps around the detector's ends. `peers.tomopy_gridrec` passes the
# Shepp filter, undoes the shift and pads, so that the score below is that of the reconstruction and not of its position. Negative values are
# set to zero, as the other two have none.

# %%
steps = 5 if QUICK else 200
images = {}
if tomopy:
    images["gridrec, Shepp filter"] = peers.tomopy_gridrec(sinogram, theta, center, pad=True).clip(min=0)
    images[f"MLEM, {steps} iterations"] = tomopy.recon(proj, theta, center=center, algorithm="mlem", num_iter=steps)[0]
else:
    model, data = ParallelBeamProjector(SIZE, theta, SIZE, center), torch.from_numpy(sinogram[None])
    images["FBP, ramp filter"] = fbp(model, data, theta)[0].numpy().clip(min=0)
    images[f"MLEM, {steps} iterations"] = mlem(model, data, steps)[0].numpy()
images["ganrec"] = volume[0]

# %%
side = SIZE // 4
detail = np.s_[SIZE // 2 - side // 2 : SIZE // 2 + side // 2, SIZE // 2 - side // 2 : SIZE // 2 + side // 2]


def show(images, truth):
    """Slices, an enlarged detail of each, and where each agrees with the truth; all slices in the grey window of the truth."""
    figure, axes = plt.subplots(
        3, len(images) + 1, figsize=(2.6 * (len(images) + 1) + 0.8, 7.9), dpi=85, layout="constrained"
    )
    window = dict(cmap="gray", vmin=truth.min(), vmax=truth.max(), interpolation="nearest")
    for k, (name, image) in enumerate({"truth": truth, **images}.items()):
        grey = axes[0, k].imshow(image, **window)
        axes[0, k].set_title(name if k == 0 else f"{name}\nMSSIM {metrics.mssim(truth, image):.3f}", fontsize=10)
        corner = detail[1].start - 0.5, detail[0].start - 0.5
        axes[0, k].add_patch(plt.Rectangle(corner, side, side, fill=False, color="orange"))
        axes[1, k].imshow(image[detail], **window)
        if k:
            agree = axes[2, k].imshow(
                metrics.ssim_map(truth, image), cmap="viridis", vmin=0, vmax=1, interpolation="nearest"
            )
    for axis in axes.flat:
        axis.set_xticks([])
        axis.set_yticks([])
    axes[2, 0].axis("off")
    axes[2, 1].set_ylabel("SSIM map")
    axes[1, 0].set_ylabel("detail")
    figure.colorbar(grey, ax=axes[:2], label="attenuation per pixel", shrink=0.6)
    figure.colorbar(agree, ax=axes[2], label="SSIM", shrink=0.9)
    figure.suptitle(f"shale {SIZE}², 120 projections over 0–120°, noise-free")
    plt.show()


show(images, truth)

# %% [markdown]
# MSSIM is the mean structural similarity with the truth (Gaussian window of 1.5 pixels, 1 is perfect). The missing wedge is 120 to
# 180°. Edges that only those projections see along their length are the ones that gridrec and MLEM smear. ganrec relies on the material being
# piecewise constant, as this one is.

# %% [markdown]
# ## Options
#
# They go into one dictionary, or are given as keywords. `num_iter=0` returns the image that the fit starts from, edge-reweighted total variation;
# with `reweight_rounds=0` as well it is plain total variation. Both are cheaper, and they show how much of the result the fit itself adds.


# %%
def recon(proj, theta, **more):
    """The same call with and without TomoPy."""
    if tomopy:
        return tomopy.recon(proj, theta, algorithm=ganrec, ncore=1, **more)
    return tomopy_ganrec.recon(proj, theta, **more)


for name, options in {
    "plain total variation": {"num_iter": 0, "reweight_rounds": 0},
    "start image": {"num_iter": 0},
    "ganrec": FIT,
}.items():
    image = volume[0] if name == "ganrec" else recon(proj, theta, center=center, options=options)[0]
    print(f"{name:22s} MSSIM {metrics.mssim(truth, image):.3f}   {options}")

# %% [markdown]
# A name or value that is not known is refused before anything is computed:

# %%
try:
    recon(proj, theta, center=center, options={"num_iters": 50})
except TypeError as error:
    print(error)

# %% [markdown]
# `help(tomopy_ganrec.GanrecOptions)` explains all of them; what you leave out has these values:

# %%
print(textwrap.fill(str(GanrecOptions()), 110))

# %% [markdown]
# ## How did it go?
#
# `tomopy.recon` can return a volume only. `tomopy_ganrec.recon` takes the same arguments, and with `return_info=True` it also returns a record for
# each slice: the noise estimated from the sinogram, the weight that followed from it, the iteration that was returned (0 is the start image), and the
# relative data residual ‖Ax − b‖/‖b‖. Here with `levels='auto'`, which the next section is about.

# %%
with_levels, info = tomopy_ganrec.recon(proj, theta, center=center, levels="auto", return_info=True, options=FIT)
print(info)
for key in ("noise", "tv_weight", "iteration", "start_residual", "residual", "levels", "stopped", "backend"):
    print(f"{key:15s} {info.slices[0][key]}")

# %% [markdown]
# ## Segmented material: `levels='auto'`
#
# For a material of a few grey levels, `levels='auto'` finds them in the start image and pulls pixels towards them. That helps where pixels are full
# of one material. Where grains end inside pixels it helps less, and a material without such levels is detected and reconstructed without them, with a warning. Off by default. Both, measured:

# %%
full_truth, full_sinogram = Case("shale", SIZE, "120", None, "pixel").slice()  # each pixel is filled by one material
full = [
    recon(full_sinogram[:, None], theta, center=center, options=FIT | extra)[0] for extra in ({}, {"levels": "auto"})
]
print("MSSIM                      default    levels='auto'")
print(
    f"full pixels                {metrics.mssim(full_truth, full[0]):.4f}     {metrics.mssim(full_truth, full[1]):.4f}"
)
print(
    f"partly filled pixels       {metrics.mssim(truth, volume[0]):.4f}     {metrics.mssim(truth, with_levels[0]):.4f}"
)

# %% [markdown]
# One slice each: a demonstration, not a benchmark.
#
# ## A volume, and saving it
#
# More slices are the same call. `progress=True` shows a bar with the time left; here three slices of a smaller volume. With `ncore=1` TomoPy hands
# over the whole volume; otherwise it cuts it into chunks, with a bar for each. `io.write_slices` writes 32-bit TIFFs into a folder, or one
# HDF5 file if the name ends in `.h5`.

# %%
small = SIZE // 2
case = Case("shale", small, "120", None, "subpixel")
truths, sinograms = zip(*(case.slice(k, 3) for k in range(3)), strict=True)
stack = recon(np.stack(sinograms, axis=1), theta, center=small / 2, progress=True, options=FIT)

# %%
with tempfile.TemporaryDirectory() as folder:
    written = io.write_slices(stack, Path(folder) / "rec") + io.write_slices(stack, Path(folder) / "rec.h5")
    print([path.name for path in written])
print(
    f"{stack.shape}, MSSIM of the slices: {', '.join(f'{metrics.mssim(t, x):.3f}' for t, x in zip(truths, stack, strict=True))}"
)

# %% [markdown]
# ## Where to go from here
#
# - The numbers here are those of one noise-free slice. Tables over objects, angular ranges, noise and seeds, and what the method does worse, are in the
#   README under *What to expect*, with the commands that make them.
# - `real_tooth`: a measured scan from its file, with its centre.
# - `missing_wedge_benchmark` and `insitu_zeolite`: all methods side by side, with your own angular range and noise.
