"""
Training a network on handwritten digits
========================================

The default :class:`~skconv.CNNClassifier` learns scikit-learn's 8x8 digits; the test images that it is least sure of
show what is hard about them.
"""

import matplotlib.pyplot as plt
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from skconv import CNNClassifier

# %%
# Images go in as they are, ``(n_samples, height, width)``. A fifth of each class is set aside for testing.

digits = load_digits()
X_train, X_test, y_train, y_test = train_test_split(
    digits.images, digits.target, test_size=0.2, stratify=digits.target, random_state=0
)
clf = CNNClassifier(random_state=0).fit(X_train, y_train)
print(clf.summary())
print(f"test accuracy: {clf.score(X_test, y_test):.2%}")

# %%
# The training loss of each epoch is kept.

fig, ax = plt.subplots()
ax.plot(range(1, clf.n_iter_ + 1), clf.loss_curve_, marker="o")
ax.set(xlabel="epoch", ylabel="training loss", yscale="log")

# %%
# The test images that the network is least sure of, right or wrong.

probabilities = clf.predict_proba(X_test)
doubtful = probabilities.max(axis=1).argsort()[:10]
fig, axes = plt.subplots(2, 5, figsize=(8, 4), layout="constrained")
for ax, n in zip(axes.flat, doubtful):
    predicted = clf.classes_[probabilities[n].argmax()]
    ax.imshow(X_test[n], cmap="gray_r")
    ax.set_title(f"is {y_test[n]}, read as {predicted}\n(p = {probabilities[n].max():.2f})", fontsize="small")
    ax.set_axis_off()
plt.show()
