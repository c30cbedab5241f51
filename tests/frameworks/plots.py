"""matplotlib and Pillow."""

from programs.harness import Program

_FIGURES = "matplotlib: figures, axes, lines, the current figure"

PROGRAMS = [
    Program(
        "a_figure_that_grows",
        "A figure, its axes and its lines are one drawing, to the last pixel.",
        """
import matplotlib
matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
fig, (left, right) = plt.subplots(1, 2, figsize=(2, 1), dpi=40)
(line,) = left.plot([], [], "r-")
for k in range(3):
    line.set_data(range(k + 1), np.arange(k + 1) ** 2)
    left.relim()
    left.autoscale_view()
    right.bar([k], [k + 1])
    right.set_title(f"step {k}")
fig.canvas.draw()
pixels = np.asarray(fig.canvas.buffer_rgba()).copy()
print(line.axes is left, left.figure is fig, fig.number, plt.get_fignums(), plt.gcf() is fig, plt.gca() is right)
plt.close(fig)
""",
        every=3,
        library="matplotlib",
        row=_FIGURES,
    ),
    Program(
        "the_current_figure",
        "pyplot draws where it would have drawn, though no variable holds the figure.",
        """
import io
import matplotlib
matplotlib.use("Agg")
import matplotlib.pyplot as plt
plt.close("all")
plt.figure(3, figsize=(1, 1), dpi=30)
plt.figure("named", figsize=(1, 1), dpi=30)
sizes = []
for k in range(3):
    plt.figure(3)
    plt.plot([0, k], label=str(k))
    plt.figure("named")
    plt.scatter([k], [k])
    sizes.append((len(plt.gca().collections), plt.get_fignums(), plt.get_figlabels()))
raw = io.BytesIO()
plt.savefig(raw, format="raw")
number, lines = plt.gcf().number, len(plt.figure(3).axes[0].lines)
plt.close("all")
sizes, number, lines
""",
        every=3,
        library="matplotlib",
        row=_FIGURES,
    ),
    Program(
        "a_figure_each_time",
        "Figures that the loop makes and closes leave nothing behind, and numbers go on.",
        """
import matplotlib
matplotlib.use("Agg")
import matplotlib.pyplot as plt
kept, numbers = [], []
for k in range(3):
    figure, axes = plt.subplots(figsize=(1, 1), dpi=30)
    axes.imshow([[k, 1], [2, 3]])
    numbers.append((figure.number, len(plt.get_fignums())))
    kept.append(figure)
    if k != 1:
        plt.close(figure)
numbers, plt.get_fignums(), plt.gcf() is kept[1]
plt.close("all")
numbers
""",
        every=3,
        library="matplotlib",
        row=_FIGURES,
    ),
    Program(
        "images",
        "Images come back pixel by pixel, with their mode, palette and metadata.",
        """
from PIL import Image, ImageDraw, ImageFilter
picture = Image.new("RGB", (8, 8), "white")
small, mask = picture.convert("P", palette=Image.Palette.ADAPTIVE), Image.new("1", (8, 8))
picture.info["made"] = "here"
draw, sums = ImageDraw.Draw(picture), []
for k in range(4):
    draw.point((k, k), fill=(k * 50, 0, 255))
    picture.putpixel((7 - k, k), (0, k, 0))
    mask = mask.transpose(Image.Transpose.ROTATE_90)
    sums.append(sum(picture.filter(ImageFilter.BLUR).tobytes()))
sums, picture.tobytes() == draw._image.tobytes(), small.mode, picture.info
""",
        every=3,
        library="PIL",
        row="Pillow: images",
    ),
]
