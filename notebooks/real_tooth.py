# %% [markdown]
# # A measured scan: its file, its centre, and a third of its angles left out
#
# TomoPy's tutorial scan of a tooth: 181 projections over 180°, 2 slices, 640 columns, with flat and dark fields, in a Data Exchange file. This
# notebook
#
# 1. reads the file with dxchange, or with h5py where dxchange is not installed;
# 2. finds the rotation axis, and shows what half a pixel does;
# 3. reconstructs from 0–120° by FBP, MLEM, total variation and ganrec, and compares each with its own slice from the full range.
#
# The file is `source/tomopy/data/tooth.h5` of the [TomoPy repository](https://github.com/tomopy/tomopy). Put it beside this notebook, or give its
# path in the environment variable `TOOTH_FILE`; your own Data Exchange file with flat and dark fields works as well. Without a file, the
# notebook writes a small simulated scan and goes on with that. It runs with and without TomoPy.

# %%
import os
import tempfile
import warnings
from pathlib import Path

import h5py
import matplotlib.pyplot as plt
import numpy as np
import torch
from scipy.ndimage import uniform_filter
from skimage.registration import phase_cross_correlation

warnings.filterwarnings("ignore", message="IProgress not found")  # bars are plain text where ipywidgets is missing
warnings.filterwarnings("ignore", message="pkg_resources is deprecated")  # of dxchange
warnings.formatwarning = lambda message, *where, **more: f"Warning: {message}\n"

import tomopy_ganrec
from tomopy_ganrec import ParallelBeamProjector, ganrec, io, phantoms
from tomopy_ganrec.benchmark import measured, methods, runner, simulation
from tomopy_ganrec.benchmark.report.markup import markup_table
from tomopy_ganrec.benchmark.report.tables import format_number
from tomopy_ganrec.benchmark.store import Results
from tomopy_ganrec.benchmark.tasks import runs_of
from tomopy_ganrec.solvers.classical import mlem

try:
    import tomopy
except ImportError:
    tomopy = None

QUICK = os.environ.get("GANREC_NOTEBOOK_SIZE") == "quick"  # tiny, for tests: its numbers mean nothing
print("TomoPy", tomopy.__version__ if tomopy else "is not installed: this package and scikit-image take its place")

# %% [markdown]
# ## The file
#
# A Data Exchange file has counts in `exchange/data` (angles, slices, columns), flat and dark fields in `exchange/data_white` and `exchange/data_dark`,
# and angles in degrees in `exchange/theta`.

# %%
temporary = tempfile.TemporaryDirectory()
work = Path(temporary.name)
path = Path(os.environ.get("TOOTH_FILE", "tooth.h5"))


def write_scan(path, counts, flat, dark, degrees):
    """A Data Exchange file."""
    with h5py.File(path, "w") as file:
        for name, values in dict(data=counts, data_white=flat, data_dark=dark, theta=degrees).items():
            file[f"exchange/{name}"] = values


if path.is_file():
    print("scan:", path.name)
else:
    degrees = np.linspace(0, 180, 121)
    lines = simulation.simulate(phantoms.shale(4 * 128, 2), np.deg2rad(degrees), "subpixel", 4)
    lines = np.pad(2 * lines / lines.max(), ((0, 0), (0, 0), (4, 28)))  # the axis is 12 columns left of the middle
    lines = lines.swapaxes(0, 1)
    rng = np.random.default_rng(0)
    flat = 2e4 * (1 + 0.1 * np.sin(np.arange(lines.shape[2]) / 9))
    frames = rng.poisson(flat, (10, *lines.shape[1:])), rng.poisson(100, (10, *lines.shape[1:]))
    path = work / "simulated.h5"
    write_scan(path, rng.poisson(flat * np.exp(-lines)) + 100.0, frames[0] + 100.0, frames[1], degrees)
    print("there is no tooth.h5: a simulated scan (shale, axis at column 68 from the edge) takes its place")

# %% [markdown]
# `io.read_projections` reads, corrects for flat and dark fields and takes −log, the latter two by TomoPy where it is installed. What it returns is
# what `tomopy.recon` takes: line integrals (angles, slices, columns), and radians.

# %%
try:
    reader = "dxchange"
    proj, theta = io.read_projections(path, reader=reader)
except ImportError:
    reader = "h5py"
    proj, theta = io.read_projections(path, reader=reader)
print(
    f"read with {reader}: {proj.shape} line integrals, {np.rad2deg(theta[0]):.1f} to {np.rad2deg(theta[-1]):.1f} degrees"
)

# %% [markdown]
# The sample fills a part of the detector only. The air beside it is cut off and two columns are made one, here and for all that follows, so that
# the notebook takes minutes on one core. It is done to the counts, as a smaller detector with larger pixels would have recorded them. With `binning
# = 1` the rest of the notebook runs at the full resolution and takes about six times as long.

# %%
sample = np.flatnonzero(proj.max((0, 1)) > 0.1 * proj.max())
first, last = max(0, sample[0] - 24), min(proj.shape[2], sample[-1] + 25)
binning = max(1, round((last - first) / (56 if QUICK else 180)))
last = first + (last - first) // (2 * binning) * 2 * binning


def reduced(counts):
    return counts[:, :, first:last].reshape(*counts.shape[:2], -1, binning).mean(3)


with h5py.File(path) as file:
    raw = {name: file[f"exchange/{name}"][:] for name in ("data", "data_white", "data_dark", "theta")}
scan_file = work / f"{path.stem}-small.h5"
write_scan(scan_file, *(reduced(raw[name]) for name in ("data", "data_white", "data_dark")), raw["theta"])
full_width, whole = proj.shape[2], proj
proj, theta = io.read_projections(scan_file, reader=reader)
angles, slices, columns = proj.shape
print(f"columns {first} to {last - 1} of {full_width}, {binning} in one: {proj.shape}")

# %%
figure, axes = plt.subplots(1, 2, figsize=(10, 3.6), dpi=90, layout="constrained", width_ratios=(1.5, 1))
extent = (0, full_width, np.rad2deg(theta[-1]), np.rad2deg(theta[0]))
grey = axes[0].imshow(whole[:, 0], cmap="gray", aspect="auto", extent=extent, interpolation="nearest")
axes[0].plot(
    (first, first, None, last, last),
    (extent[3], extent[2], None, extent[3], extent[2]),
    color="#56B4E9",
    label="columns kept",
)
axes[0].axhline(120, color="orange", linestyle="--", label="end of the angular range 0–120°")
axes[0].set(title="sinogram of slice 0", xlabel="detector column", ylabel="angle (°)")
axes[0].legend(loc="upper left", fontsize=8)
figure.colorbar(grey, ax=axes[0], label="line integral (−log transmission)")
axes[1].plot(proj[0, 0], label=f"{np.rad2deg(theta[0]):.0f}°")
axes[1].plot(proj[-1, 0, ::-1], label=f"{np.rad2deg(theta[-1]):.0f}°, mirrored")
axes[1].set(title="first and last projection", xlabel=f"column of {columns}", ylabel="line integral")
axes[1].legend(fontsize=8)
plt.show()

# %% [markdown]
# ## The rotation axis and the half pixel
#
# The last projection, mirrored, is the first one moved by twice the distance of the axis from the middle. That gives a first centre, by
# scikit-image. TomoPy's finders are more thorough. All of them count from the **middle of the first column**:

# %%
mirrored = proj[-1, :, ::-1]
moved = phase_cross_correlation(proj[0], mirrored, upsample_factor=20, normalization=None)[0][1]
found = {"mirror image (scikit-image)": (moved + columns - 1) / 2}
if tomopy:
    found["tomopy.find_center_pc"] = float(tomopy.find_center_pc(proj[0], proj[-1], tol=0.1))
    found["tomopy.find_center_vo"] = float(tomopy.find_center_vo(proj, ind=0, ncore=1))
    found["tomopy.find_center"] = float(
        tomopy.find_center(proj, theta, ind=0, init=found["mirror image (scikit-image)"], tol=0.1)[0]
    )
print("                               column of the   the same on the detector")
print("                                reduced scan   as it was recorded")
for name, value in found.items():
    print(f"{name:30s} {value:13.2f}   {(value + 0.5) * binning + first - 0.5:9.2f}")

# %% [markdown]
# They do not quite agree. A check that depends on no convention of theirs: the best centre is the one whose reconstruction agrees best with the
# data. Here 30 MLEM iterations at nine centres, counted as `tomopy.recon(…, algorithm='mlem')` and ganrec count them: from the **edge** of the
# detector, where the middle is `columns / 2`.

# %%
finder = "tomopy.find_center" if tomopy else "mirror image (scikit-image)"
index_center = found[finder]
data = torch.from_numpy(np.ascontiguousarray(proj[:, 0][None]))


def residual(center):
    """Relative data residual of 30 MLEM iterations."""
    model = ParallelBeamProjector(columns, theta, columns, center)
    return float((model.forward_project(mlem(model, data, 30)) - data).norm() / data.norm())


tried = index_center + 0.5 + np.linspace(-1, 1, 5 if QUICK else 9)
residuals = np.array([residual(center) for center in tried])
curve = np.polyfit(tried - index_center, residuals, 2)
best = index_center - curve[1] / (2 * curve[0])
print(f"smallest residual at {best:.2f} from the edge; {finder} gave {index_center:.2f}: {best - index_center:+.2f}")

# %%
figure, axis = plt.subplots(figsize=(7, 3.4), dpi=90, layout="constrained")
axis.plot(tried, 100 * residuals, "ko")
fine = np.linspace(tried[0], tried[-1])
axis.plot(fine, 100 * np.polyval(curve, fine - index_center), "k", linewidth=1, label="parabola")
axis.axvline(index_center, color="#D55E00", linestyle="--", label=f"{finder}, as it is")
axis.axvline(index_center + 0.5, color="#0072B2", label="the same + 0.5")
axis.set(
    xlabel="centre from the detector's edge (columns)",
    ylabel="data residual (%)",
    title="MLEM, 30 iterations, full range",
)
axis.legend()
plt.show()

# %% [markdown]
# So a finder's number goes in with half a pixel added, in one of two ways:
#
# ```python
# tomopy.recon(proj, theta, center=found + 0.5, algorithm=ganrec)
# tomopy.recon(proj, theta, center=found, algorithm=ganrec, center_convention='index')
# ```
#
# (gridrec is the exception in TomoPy: it counts like the finders.) What it does to a slice, with the same number once taken as 'edge' and once as
# 'index'. This is the start image of ganrec, total variation, which is quicker than the whole fit:

# %%
one_slice, quick_look = proj[:, :1], {"num_iter": 0, "reweight_rounds": 0}
pair, fits = [], []
for convention, center in (("edge", index_center), ("index", index_center + 0.5)):
    options = quick_look | {"center_convention": convention}
    if tomopy:
        image = tomopy.recon(one_slice, theta, center=index_center, algorithm=ganrec, options=options)
    else:
        image = tomopy_ganrec.recon(one_slice, theta, center=index_center, options=options)
    model = ParallelBeamProjector(columns, theta, columns, center)
    fits.append(float((model.forward_project(torch.from_numpy(image)) - data).norm() / data.norm()))
    pair.append(image[0])
print(f"data residual: taken as 'edge' {100 * fits[0]:.2f} %, taken as 'index' {100 * fits[1]:.2f} %")

# %%
high = float(np.quantile(pair[1], 0.995))
outline = int(np.flatnonzero((pair[1] > 0.5 * high).any(0))[0])  # the sample's leftmost column
strip = np.s_[:, max(0, outline - columns // 8) : outline + columns // 8]
figure, axes = plt.subplots(1, 5, figsize=(12, 4.5), dpi=80, layout="constrained", width_ratios=(4, 4, 1, 1, 4))
for k, (image, name) in enumerate(zip(pair, ("'edge': half a pixel off", "'index': right"), strict=True)):
    grey = axes[k].imshow(image, cmap="gray", vmin=0, vmax=high, interpolation="nearest")
    axes[k].set_title(f"{name}\nresidual {100 * fits[k]:.2f} %", fontsize=10)
    axes[k].add_patch(
        plt.Rectangle(
            (strip[1].start - 0.5, 0), strip[1].stop - strip[1].start, columns - 2, fill=False, color="orange"
        )
    )
    faint = axes[k + 2].imshow(image[strip], cmap="gray", vmin=0, vmax=high / 10, interpolation="nearest")
    axes[k + 2].set_title(f"{name.split(':')[0]}", fontsize=10)
change = axes[4].imshow(pair[0] - pair[1], cmap="RdBu_r", vmin=-high / 3, vmax=high / 3, interpolation="nearest")
axes[4].set_title("'edge' − 'index'", fontsize=10)
figure.colorbar(grey, ax=axes[:2], label="attenuation per pixel", shrink=0.7, location="bottom")
figure.colorbar(
    faint, ax=axes[2:4], label="a tenth of the window", shrink=1.0, location="bottom", ticks=(0, round(high / 10, 4))
)
figure.colorbar(
    change,
    ax=axes[4],
    label="difference, attenuation per pixel",
    location="bottom",
    ticks=(-round(high / 3, 3), 0, round(high / 3, 3)),
)
for axis in axes:
    axis.set_xticks([])
    axis.set_yticks([])
plt.show()

# %% [markdown]
# Half a pixel is easily overlooked in a slice, and clear in its residual. Most of the difference is a slice that is moved as a whole; where an
# outline faces the first and the last projection, these no longer meet, and a brighter streak runs from it into the air (strips: left side, the grey window a
# tenth).

# %% [markdown]
# ## Full range against 0–120°
#
# A measured slice has no truth. Two things can be measured instead:
#
# - **held-out residual**: how well a slice from 0–120° predicts the projections from 120° on that it has not seen;
# - **distance**: ‖slice from 0–120° − slice from the full range‖ / ‖slice from the full range‖, each method against its *own* full range.
#
# `benchmark.measured.measured` makes the slices to compare from a file, `benchmark.runner` runs every method on each and keeps what is finished in a folder, so that
# a long run can be continued.

# %%
ANGLES = "0:120"
chosen = methods.chosen(["fbp", "mlem", "tv", "ganrec"])
slice_cases = measured.measured(
    scan_file, ANGLES, center=index_center, center_convention="index", slices=(0, 1), reader=reader
)
results = Results(work / "results")
unfinished = runner.pending(results, runs_of(slice_cases, chosen))
failures = runner.run(results, unfinished, progress=False)
print(f"{len(unfinished)} reconstructions, {failures} failed")
for method in chosen:
    print(f"{method.label:8s} {method.parameters}")

# %%
rows = results.rows()
part = {row["method"]: row for row in rows if row["angular_range"] == ANGLES}
full = {row["method"]: row for row in rows if row["angular_range"] == "full"}


def text(row, value):
    return format_number(row[value], value)


header = ["method", "distance", "held-out residual", "residual, 0–120°", "residual, full range", "seconds, 0–120°"]
body = [
    [
        part[method.name]["label"],
        text(part[method.name], "distance"),
        text(part[method.name], "residual_heldout"),
        text(part[method.name], "residual"),
        text(full[method.name], "residual"),
        text(part[method.name], "seconds"),
    ]
    for method in chosen
]
print(markup_table(header, body, "rst"))

# %% [markdown]
# A distance to a method's own full range flatters methods that smooth both alike. The same distance with the full range of each of the others, its
# own in brackets:

# %%
slice_of = {
    (which, m.name): results.image(group[m.name]["image"])
    for which, group in (("full", full), ("part", part))
    for m in chosen
}


def distance(method, reference):
    whole = slice_of["full", reference.name]
    value = float(np.linalg.norm(slice_of["part", method.name] - whole) / np.linalg.norm(whole))
    return f"({value:.3f})" if method is reference else f"{value:.3f}"


body = [[method.label, *(distance(method, reference) for reference in chosen)] for method in chosen]
print(markup_table(["0–120°", *(f"{reference.label}, full range" for reference in chosen)], body, "rst"))

# %% [markdown]
# The pictures have the same grey window. The detail is the square in which the slices from 0–120° differ most from the full range, in the mean over
# the methods.

# %%
side = columns // 4
error = np.mean([np.abs(slice_of["part", m.name] - slice_of["full", m.name]) for m in chosen], axis=0)
middle = np.unravel_index(uniform_filter(error, side, mode="constant").argmax(), error.shape)
top, left = (int(np.clip(k - side // 2, 0, columns - side)) for k in middle)
detail = np.s_[top : top + side, left : left + side]

figure, axes = plt.subplots(5, len(chosen), figsize=(10.8, 12.6), dpi=72, layout="constrained")
for k, method in enumerate(chosen):
    whole, limited = slice_of["full", method.name], slice_of["part", method.name]
    for j, image in enumerate((whole, limited, whole[detail], limited[detail])):
        grey = axes[j, k].imshow(image, cmap="gray", vmin=0, vmax=high, interpolation="nearest")
        if j < 2:
            axes[j, k].add_patch(plt.Rectangle((left - 0.5, top - 0.5), side, side, fill=False, color="orange"))
    change = axes[4, k].imshow(limited - whole, cmap="RdBu_r", vmin=-high / 2, vmax=high / 2, interpolation="nearest")
    axes[0, k].set_title(method.label)
    axes[4, k].set_title(f"distance {part[method.name]['distance']:.3f}", fontsize=10)
for axis, label in zip(
    axes[:, 0], ("full range", "0–120°", "full range, detail", "0–120°, detail", "0–120° − full range"), strict=True
):
    axis.set_ylabel(label)
for axis in axes.flat:
    axis.set_xticks([])
    axis.set_yticks([])
figure.colorbar(grey, ax=axes[:4], label="attenuation per pixel", shrink=0.4)
figure.colorbar(change, ax=axes[4], label="difference")
plt.show()

# %% [markdown]
# The same along the middle row of the detail, for the two methods that come nearest:

# %%
figure, axes = plt.subplots(1, 2, figsize=(10, 3), dpi=80, layout="constrained", sharey=True)
row = top + side // 2
for axis, method, color in zip(axes, chosen[-2:], ("#0072B2", "#D55E00"), strict=True):
    axis.plot(
        np.arange(left, left + side), slice_of["full", method.name][row, left : left + side], "k", label="full range"
    )
    axis.plot(
        np.arange(left, left + side),
        slice_of["part", method.name][row, left : left + side],
        color=color,
        label="0–120°",
    )
    axis.set(title=method.label, xlabel=f"column (row {row})")
    axis.legend(fontsize=8)
axes[0].set_ylabel("attenuation per pixel")
plt.show()

# %% [markdown]
# What the tooth shows (the committed run; measured numbers above):
#
# - Total variation and ganrec are far ahead of FBP and MLEM. ganrec is nearer to its own full range (0.116, total variation 0.132) and to that of each
#   other method, and predicts the projections it has not seen better (0.047 and 0.056).
# - ganrec's edges are sharper: along the row above, total variation spreads the boundaries over several columns, ganrec over one or two. But a sharp
#   edge is not therefore in the right place: in the detail, compare the course of the boundary with the full range.
# - Both lose contrast across the boundaries whose directions were not measured: along that row the bright band is too dark and the grey beside it too
#   bright. What is not measured is filled in by the image model of the method.
# - One slice of one scan. For several objects with a known truth see the tables in the README and the notebook `missing_wedge_benchmark`.

# %%
temporary.cleanup()
