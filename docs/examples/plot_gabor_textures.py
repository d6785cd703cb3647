"""
Telling textures apart with Gabor filters
=========================================

Simple cells of the visual cortex answer to edges and stripes of one direction and width; Gabor filters model them.
The mean and the standard deviation of a bank's responses over a patch say what its texture is like, wherever the edges
lie. Here they tell which of scikit-learn's two sample photographs a small patch was cut from.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_sample_images
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skconv import GaborFilterBank

# %%
# Grey patches of 64x64 pixels, side by side: a temple in China, and a flower. Every patch has its mean taken away, so
# that brightness gives nothing away.

size = 64
photographs = [image.mean(axis=-1) / 255 for image in load_sample_images().images]
patches, labels = [], []
for label, photograph in enumerate(photographs):
    for i in range(0, photograph.shape[0] - size + 1, size):
        for j in range(0, photograph.shape[1] - size + 1, size):
            patch = photograph[i : i + size, j : j + size]
            patches.append(patch - patch.mean())
            labels.append(label)
X, y = np.array(patches), np.array(labels)

# %%
# A bank of 40 complex filters. ``features="moments"`` answers with two numbers per filter and stores no maps.

bank = GaborFilterBank(frequencies=(0.05, 0.1, 0.2, 0.3, 0.4), features="moments")
pipeline = make_pipeline(bank, StandardScaler(), LogisticRegression(max_iter=1000))
folds = StratifiedKFold(5, shuffle=True, random_state=0)
scores = cross_val_score(pipeline, X, y, cv=folds)
print(f"{len(X)} patches, {2 * len(bank.fit(X).kernels_)} features: accuracy {scores.mean():.1%}")

# %%
# The filters of one frequency (real parts), and what they answer to a part of the first photograph.

view = photographs[0][None, 100:300, 200:440]
maps = GaborFilterBank(4, frequencies=0.1).fit(view)
responses = maps.transform(view)[0]
fig, axes = plt.subplots(2, 5, figsize=(10, 4), layout="constrained")
axes[0, 0].set_axis_off()
axes[1, 0].imshow(view[0], cmap="gray")
for k in range(4):
    axes[0, k + 1].imshow(maps.kernels_[k].real, cmap="gray")
    axes[0, k + 1].set_title(f"{np.rad2deg(maps.orientations_[k]):.0f} degrees")
    axes[1, k + 1].imshow(responses[..., k], cmap="magma")
for ax in axes.flat:
    ax.set_axis_off()

# %%
# Which filters a classifier of all patches looks at: the weights of the means, by frequency and orientation.

pipeline.fit(X, y)
weights = pipeline[-1].coef_[0].reshape(5, 8, 2)
fig, ax = plt.subplots(layout="constrained")
shown = ax.imshow(weights[..., 0], cmap="RdBu", vmin=-abs(weights).max(), vmax=abs(weights).max())
ax.set(xlabel="orientation in degrees", ylabel="cycles per pixel")
ax.set_xticks(range(8), np.rad2deg(bank.orientations_[:8]))
ax.set_yticks(range(5), bank.frequencies_[::8].round(2))
fig.colorbar(shown, label="weight of the mean response")
plt.show()
