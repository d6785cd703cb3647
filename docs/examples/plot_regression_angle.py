"""
Telling the angle of rotated digits
===================================

A :class:`~skconv.CNNRegressor` looks at a digit that was turned by up to 45 degrees, and says by how much.
"""

import matplotlib.pyplot as plt
import numpy as np
from scipy.ndimage import rotate
from sklearn.datasets import load_digits
from sklearn.metrics import mean_absolute_error
from sklearn.model_selection import train_test_split

from skconv import CNNRegressor

# %%
# Every digit is enlarged to 16x16 pixels, framed by two empty ones to have room, and turned by an angle drawn uniformly
# within 45 degrees. The angle is the target; which digit it is, the network is not told.

rng = np.random.default_rng(0)
images = np.pad(load_digits().images.repeat(2, axis=1).repeat(2, axis=2), ((0, 0), (2, 2), (2, 2)))
angles = rng.uniform(-45, 45, len(images))
X = np.array([rotate(image, angle, reshape=False, order=1) for image, angle in zip(images, angles)])
X_train, X_test, y_train, y_test = train_test_split(X, angles, random_state=0)

# %%
# The angles go in as they are, in degrees; the network is trained towards angles of mean 0 and variance 1, and answers
# in degrees again. A tenth of the training images is set aside, and the error on it is watched in degrees.

X_fit, X_val, y_fit, y_val = train_test_split(X_train, y_train, test_size=0.1, random_state=0)
reg = CNNRegressor(max_iter=20, scoring="neg_mean_absolute_error", random_state=0)
reg.fit(X_fit, y_fit, X_val=X_val, y_val=y_val)
predicted = reg.predict(X_test)
print(f"R2 {reg.score(X_test, y_test):.3f}, off by {mean_absolute_error(y_test, predicted):.1f} degrees in the mean")

fig, ax = plt.subplots()
ax.plot(range(1, reg.n_iter_ + 1), -np.array(reg.validation_scores_), marker="o")
ax.set(xlabel="epoch", ylabel="mean error on the validation images, in degrees", ylim=(0, None))

# %%
# Digits of the test set, before and after they are turned back by what the network said.

fig, axes = plt.subplots(2, 8, figsize=(10, 3), layout="constrained")
for n, (above, below) in enumerate(axes.T):
    above.imshow(X_test[n], cmap="gray_r")
    above.set_title(f"{y_test[n]:.0f}°", fontsize="small")
    below.imshow(rotate(X_test[n], -predicted[n], reshape=False, order=1), cmap="gray_r")
    below.set_title(f"said {predicted[n]:.0f}°", fontsize="small")
    above.set_axis_off()
    below.set_axis_off()
plt.show()
