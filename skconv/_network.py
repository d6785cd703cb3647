"""A network: operations bound to an image shape, one flat vector of weights, and what can be done with them."""

import math
from dataclasses import dataclass
from time import perf_counter

import numpy as np

from ._algorithms import choose_algorithm, n_executed_multiplications
from ._engine import effective_n_threads
from ._engine.dense import COLUMNS_PER_TASK
from ._losses import LOG_LOSS
from ._memory import check_memory
from ._operations import Convolution, Pad, Reshape, with_gradients
from ._plan import SLACK, Plan, aligned_empty, aligned_zeros
from ._steps import is_wide

# Work worth a second thread: some 20 microseconds of multiply-adds, ten times what waking a thread costs.
THREAD_WORK = 1_000_000
# Multiply-adds of one thread between two looks at Ctrl-C in a prediction: a tenth of a second or less with AVX-512.
PIECE_WORK = 5_000_000_000
# Rounds of one sample per thread up to which threads share the last few samples: five images on two threads are two
# for each, then the fifth for both.
FEW_ROUNDS = 8
ALIGNMENT = 16  # elements: weights of every layer start on a cache line
SOLVERS = {"gradient": 0, "sgd": 1, "adam": 2}


@dataclass(frozen=True)
class Segment:
    """Where the weights and intercepts of one operation lie in the flat vector."""

    coef: int
    n_coef: int
    intercept: int
    n_intercepts: int


@dataclass
class SolverState:
    """The flat vectors an optimiser carries along: velocity or first moment, second moment, and steps taken.

    `average` follows the weights where training averages them; it is as long as they are.
    """

    first: np.ndarray
    second: np.ndarray
    t: int = 0
    average: np.ndarray | None = None


def _columns_in_blocks(coef):
    """Weights of a wide layer by the columns of a task: (n_tasks, n_inputs, columns), filled up with zeros.

    One image takes every weight once, so memory is what counts, and rows of all columns would be read a few cache lines
    at a time. `cifar` of benchmarks/peers, 4096 x 256 weights, one image on one thread: 310 in place of 400
    microseconds; 128 images: 22.5 in place of 25 ms.
    """
    n_inputs, n_units = coef.shape
    n_tasks = -(-n_units // COLUMNS_PER_TASK)
    n_values = n_tasks * n_inputs * COLUMNS_PER_TASK
    blocks = aligned_zeros(n_values + SLACK, coef.dtype)[:n_values].reshape(n_tasks, n_inputs, COLUMNS_PER_TASK)
    for task in range(n_tasks):
        columns = coef[:, task * COLUMNS_PER_TASK : (task + 1) * COLUMNS_PER_TASK]
        blocks[task, :, : columns.shape[1]] = columns
    return blocks


def _address(array):
    return array.__array_interface__["data"][0]


class Network:
    """Operations with weights.

    Parameters
    ----------
    operations : list of Operation
        At least one, each taking the shape that the one before gives.
    dtype : {"float32", "float64"}
        What is computed in.
    mean, scale : ndarray of shape (n_channels,) or None
        The first operation sees (x - mean) * scale.
    augment : Augmentation or None
        How `train` draws its images (not where ``training=False``).
    isa : str or None
        Instruction set; None for the one in use.

    Attributes
    ----------
    weights : ndarray of shape (n_weights,)
        All weights and intercepts, each array on a cache line of its own.
    coefs, intercepts : list of ndarray
        Views into it, outputs last; one of the two is None where a layer has only the other.
    profile : Profile or None
        Is told where the time of training goes; set before the first mini-batch.
    statistics : list of (mean, variance)
        Of every layer that normalises by the mini-batch, float64: training moves them, predictions use them.
    """

    def __init__(self, operations, *, dtype="float32", mean=None, scale=None, augment=None, isa=None):
        self.operations = with_gradients(operations)
        self.dtype = np.dtype(dtype)
        check_memory(self.operations, self.dtype.itemsize)
        # Copies: the engine has its own, and whoever edits theirs in place must be told apart.
        self.mean, self.scale = (None if values is None else np.array(values) for values in (mean, scale))
        self.augment = augment
        self.isa = isa
        self._segments = {}
        end = 0
        for i, operation in enumerate(self.operations):
            if operation.n_parameters == 0:
                continue
            n_coef, n_intercepts = math.prod(operation.coef_shape or (0,)), operation.n_intercepts
            intercept = end + -(-n_coef // ALIGNMENT) * ALIGNMENT
            self._segments[i] = Segment(end, n_coef, intercept, n_intercepts)
            end = intercept + -(-n_intercepts // ALIGNMENT) * ALIGNMENT
        self.n_weights = end
        self._storage = aligned_zeros(end + SLACK, self.dtype)
        self.weights = self._storage[:end]
        self.coefs, self.intercepts = self.arrays_of(self.weights)
        # What a forward pass of one sample costs, in multiply-adds and pixels touched.
        self._sample_work = sum(
            operation.n_multiplications + math.prod(operation.in_shape) for operation in self.operations
        )
        self._statistics = {
            i: np.stack([np.zeros(operation.n_statistics), np.ones(operation.n_statistics)])
            for i, operation in enumerate(self.operations) if operation.n_statistics
        }  # fmt: skip
        self.statistics = [tuple(pair) for pair in self._statistics.values()]
        self.profile = None
        self._trainer = None
        self._is_constant = self._may_change = False
        self._blocks = None  # of a constant network: weights of wide layers as predictions like to read them
        self._predictors = {}
        self._adjoints = []

    def arrays_of(self, flat):
        """Views of a flat vector, shaped like the weights and intercepts."""
        coefs, intercepts = [], []
        for i, segment in self._segments.items():
            coef_shape = self.operations[i].coef_shape
            coef = flat[segment.coef : segment.coef + segment.n_coef]
            coefs.append(coef.reshape(coef_shape) if segment.n_coef else None)
            intercept = flat[segment.intercept : segment.intercept + segment.n_intercepts]
            intercepts.append(intercept if segment.n_intercepts else None)
        return coefs, intercepts

    def weighted_operations(self):
        """Yield (segment, operation) of all operations with weights, in order."""
        for i, segment in self._segments.items():
            yield segment, self.operations[i]

    def parts(self):
        """Every operation with its weights, intercepts and (mean, variance), each None where it has none."""
        learned = dict(zip(self._segments, zip(self.coefs, self.intercepts, strict=True), strict=True))
        statistics = dict(zip(self._statistics, self.statistics, strict=True))
        return [
            (operation, *learned.get(i, (None, None)), statistics.get(i))
            for i, operation in enumerate(self.operations)
        ]  # fmt: skip

    @property
    def arrays(self):
        """Everything that is learned: weights, then intercepts, then means and variances."""
        return [*self.coefs, *self.intercepts, *(array for pair in self.statistics for array in pair)]

    def first(self, n_operations=None):
        """A network of its own of the first operations (all for None), with the same weights, which only predicts."""
        operations = self.operations[:n_operations]
        network = Network(operations, dtype=self.dtype, mean=self.mean, scale=self.scale, isa=self.isa)
        # The weights of layers follow each other in the flat vector: those of the first layers are its beginning.
        network.weights[...] = self.weights[: network.n_weights]
        for pair, found in zip(network.statistics, self.statistics, strict=False):
            pair[0][...], pair[1][...] = found
        return network

    def snapshot(self):
        """Copies of weights and statistics, for `restore`."""
        return self.weights.copy(), [pair.copy() for pair in self._statistics.values()]

    def restore(self, snapshot):
        """Go back to what a snapshot holds."""
        weights, statistics = snapshot
        self.weights[...] = weights
        for pair, kept in zip(self._statistics.values(), statistics, strict=True):
            pair[...] = kept

    @property
    def out_shape(self):
        """Shape of one sample's output."""
        return self.operations[-1].out_shape

    @property
    def n_parameters(self):
        """Weights and intercepts, without padding."""
        return sum(operation.n_parameters for operation in self.operations)

    @property
    def n_bytes(self):
        """Memory held between calls: the weights, and what plans keep."""
        blocks = (self._blocks or {}).values()
        return (
            self._storage.nbytes
            + sum(block.nbytes for block in blocks)
            + sum(plan.n_bytes for plan in sum(self._predictors.values(), self._adjoints))
        )

    def initialize(self, rng):
        """Draw first weights: uniform, of variance 2 / fan_in before rectifiers (He et al., 2015), else Glorot's.

        Intercepts start at zero, statistics at mean 0 and variance 1. Operations that bring their weights along keep
        those; what is not connected is zero.
        """
        for i, coef in zip(self._segments, self.coefs, strict=True):
            operation = self.operations[i]
            if coef is None:
                continue
            if operation.coef is not None:
                with np.errstate(over="ignore"):
                    coef[...] = operation.coef
                if not np.isfinite(coef).all():
                    where = f"layer {operation.name!r}: " if operation.name else ""
                    raise ValueError(
                        f"{where}filters hold values of {np.abs(operation.coef).max():g}, too large for {self.dtype}; "
                        "scale them"
                    )
            elif operation.activation in ("identity", "tanh", "logistic"):
                bound = np.sqrt(6 / (operation.fan_in + operation.fan_out))
                coef[...] = rng.uniform(-bound, bound, size=coef.shape)
            else:
                bound = np.sqrt(6 / operation.fan_in)
                coef[...] = rng.uniform(-bound, bound, size=coef.shape)
            connections = getattr(operation, "connections", None)
            if connections is not None:
                coef *= connections
        for intercept in self.intercepts:
            if intercept is not None:
                intercept[...] = 0
        for mean, variance in self.statistics:
            mean[...], variance[...] = 0, 1

    def solver_state(self, averages=False):
        """Zeroed vectors for a stochastic solver; with `averages`, one more that starts as a copy of the weights."""
        first, second = (aligned_zeros(self.n_weights + SLACK, self.dtype) for _ in range(2))
        average = None
        if averages:
            average = aligned_zeros(self.n_weights + SLACK, self.dtype)[: self.n_weights]
            average[...] = self.weights
        return SolverState(first, second, average=average)

    # ---- forward ----------------------------------------------------------------------------------------------

    def predict(self, X, *, out=None, softmax=False, refuse=None, mend=None):
        """Run images forward.

        Parameters
        ----------
        X : ndarray of shape (n_samples, *in_shape), C-contiguous uint8, float32 or float64
        out : ndarray of shape (n_samples, *out_shape), C-contiguous, of the network's dtype, default=None
            Where to put the result; must not overlap X.
        softmax : bool, default=False
            Turn the outputs into probabilities.
        refuse : callable, default=None
            Called with an X that holds NaN, infinity or what is too large for float32: it raises. They are looked for
            while samples are in the cache on their way through the network, so that nobody need read them twice.
        mend : callable, default=None
            Called with a result that is not finite, which is looked for in the same way. Not together with `refuse`.
        """
        self._check_input(X)
        checks_x = refuse is not None and X.dtype.char == self.dtype.char
        if refuse is not None and not checks_x:
            refuse(X)  # the engine looks through values of the network's precision only
        if out is None:
            out = aligned_empty((len(X), *self.out_shape), self.dtype)
        if not self.predict_into(out, X, softmax=softmax, checks_x=checks_x, checks_out=mend is not None):
            (refuse if checks_x else mend)(X if checks_x else out)
        return out

    def predict_into(self, out, X, *, softmax=False, checks_x=False, checks_out=False):
        """As `predict`, of what has been checked.

        Returns
        -------
        is_finite : bool
            With `checks_x`, False where X holds NaN, infinity or what is too large for float32, and `out` then is
            incomplete; with `checks_out`, False where `out` holds NaN or infinity.
        """
        n = len(X)
        if n == 0:
            return True
        n_threads, by_units = self._cut(n)
        plans = self._predictors  # `thaw` gives up all of them, this call's too
        is_constant = self._is_constant
        plan = self._take_predictor(n_threads, by_units, reads_data=X.dtype.char == self.dtype.char)
        piece = max(n_threads, n_threads * PIECE_WORK // self._sample_work)  # Python handles signals between pieces
        is_finite = True
        rest = n % n_threads if n_threads < n < FEW_ROUNDS * n_threads else 0
        if rest * self._sample_work < 4 * THREAD_WORK:
            rest = 0
        for start in range(0, n - rest, piece):
            is_finite &= plan.engine.predict(
                X, out if rest == 0 and piece >= n else out[start : min(start + piece, n - rest)], first=start,
                n_threads=n_threads, by_units=by_units, softmax=softmax, prepares=not plan.is_prepared,
                checks_x=checks_x, checks_out=checks_out,
            )  # fmt: skip
            plan.is_prepared = is_constant
            if checks_x and not is_finite:
                break
        if rest and (is_finite or not checks_x):
            is_finite &= plan.engine.predict(
                X, out[n - rest :], first=n - rest, n_threads=n_threads, by_units=True, softmax=softmax,
                prepares=False, checks_x=checks_x, checks_out=checks_out,
            )  # fmt: skip
        plans.setdefault((by_units, plan.reads_data), []).append(plan)
        return is_finite

    @property
    def is_constant(self):
        """Whether weights and statistics stay as they are."""
        return self._is_constant

    def freeze(self):
        """Bring weights into their forms for predictions once, not in every call; they must not change any more.

        Without effect after `thaw`.
        """
        if self._is_constant or self._may_change:
            return
        self._blocks = {
            i: _columns_in_blocks(coef) for i, coef in zip(self._segments, self.coefs, strict=True)
            if is_wide(self.operations[i], self.dtype.itemsize)
        }  # fmt: skip
        self._predictors = {}  # those that training made know nothing of blocks
        self._is_constant = True
        if self._may_change:  # said by another thread in the meantime
            self.thaw()

    def thaw(self):
        """From now on weights and statistics may change between predictions."""
        self._may_change = True
        if self._is_constant:
            self._is_constant = False
            self._blocks = None
            self._predictors = {}

    def _check_input(self, X):
        """The engine reads raw memory: it must be what the door (`_images`) makes."""
        # By character code: ten times as fast as by name, which counts for small calls.
        if X.shape[1:] != self.operations[0].in_shape or X.dtype.char not in "Bfd":
            raise ValueError(
                f"X must be uint8, float32 or float64 of shape (n, {str(self.operations[0].in_shape)[1:]}, "
                f"got {X.dtype} of shape {X.shape}"
            )
        if not (X.flags.c_contiguous and X.flags.aligned and X.dtype.isnative):
            raise ValueError("X must be C-contiguous, aligned and of native byte order")

    def describe_prediction(self, n):
        """What `predict` does with n samples, as the plan has it.

        Returns
        -------
        choices : list of (algorithm, reason, n_multiplications)
            Of every convolution, the multiplications by sample.
        n_threads : int
        n_bytes : int
            Memory beside the samples and the result.
        """
        n_threads, by_units = self._cut(n)
        plan = self._take_predictor(n_threads, by_units, reads_data=True)
        self._predictors.setdefault((by_units, True), []).append(plan)
        convolutions = [operation for operation in self.operations if isinstance(operation, Convolution)]
        choices = [(*choose_algorithm(operation), n_executed_multiplications(operation)) for operation in convolutions]
        return choices, n_threads, self.n_bytes

    def _cut(self, n):
        """Number of threads that pay for n samples, and whether they share the work inside a sample."""
        n_threads = n * self._sample_work // THREAD_WORK
        if n_threads > 1:  # asking for their number takes as long as the smallest networks
            n_threads = min(effective_n_threads(), n_threads)
        return max(1, n_threads), n < n_threads

    def _take_predictor(self, n_threads, by_units, reads_data):
        # Every call owns a plan while it runs: list.pop is atomic, so predictions from many threads share none.
        try:
            plan = self._predictors[by_units, reads_data].pop()
        except (KeyError, IndexError):
            plan = None
        if plan is None or plan.engine.n_threads < n_threads:
            plan = Plan(
                self.operations, self._segments, self._storage, statistics=self._statistics, isa=self.isa,
                n_threads=n_threads, by_units=by_units, mean=self.mean, scale=self.scale, reads_data=reads_data,
                blocks=self._blocks,
            )  # fmt: skip
        return plan

    # ---- training ---------------------------------------------------------------------------------------------

    def n_training_threads(self, batch_size):
        """Threads that pay for a mini-batch of this size."""
        work = 3 * batch_size * sum(operation.n_multiplications for operation in self.operations)
        return max(1, min(effective_n_threads(), work // THREAD_WORK))

    def _take_trainer(self, batch_size, n_threads):
        # One at a time, because it holds the activations of a mini-batch; the last mini-batch of an epoch is smaller.
        plan = self._trainer
        if plan is None or plan.capacity < batch_size or plan.engine.n_threads < n_threads:
            plan = self._trainer = Plan(
                self.operations, self._segments, self._storage, statistics=self._statistics, isa=self.isa,
                n_threads=n_threads, capacity=batch_size, mean=self.mean, scale=self.scale, augment=self.augment,
            )  # fmt: skip
            if self.profile is not None:
                plan.engine.start_profile()
        return plan

    def train(
        self, X, targets, order, bounds, *, state, solver, rates, settings, seed=0, epoch=0, training=True,
        seconds=1e9, n_threads=None, largest=None, loss=LOG_LOSS, sample_weight=None, averaging=None, loss_before=0.0,
    ):  # fmt: skip
        """Run mini-batches ``order[bounds[i]:bounds[i + 1]]`` without the GIL, for `seconds` at most.

        Parameters
        ----------
        X, targets : ndarray
            Images as in `predict`, and their targets: the class number of every image, int32, or for losses that take
            no labels, a row of n_outputs values of the network's dtype.
        order, bounds : ndarray of intp
        state : SolverState
        solver : {"sgd", "adam", "gradient"}
            "gradient" leaves the weights alone and puts the gradient of the last mini-batch into ``state.first``.
        rates : ndarray of float64
            One per mini-batch, bias corrections included.
        settings : tuple
            (alpha, beta_1 or momentum, beta_2, epsilon, nesterov, l1, clip_norm); the last two may be left out. The
            penalties alpha / 2 * w**2 and l1 * |w| are divided by the size of the mini-batch. The norm of the
            gradient by all weights, without penalties, is at most `clip_norm`, if that is not 0.
        seed, epoch : int
            Keys of dropout and augmentation.
        training : bool, default=True
            Whether dropout and augmentation act, and layers normalise by the mini-batch and (but for "gradient") move
            their statistics.
        seconds : float
            No mini-batch begins later than that.
        n_threads : int, default=None
            None: as many as may pay.
        largest : int, default=None
            Samples of the largest mini-batch, where known.
        loss : Loss, default=LOG_LOSS
        sample_weight : ndarray of shape (n_samples,), float64, default=None
            Factors of the losses, by sample number. A mini-batch's loss is the sum of the weighted ones over the number
            of its samples, so weights should have a mean of 1.
        averaging : ndarray of float64, default=None
            One number a per mini-batch, after which the average in `state` becomes a * average + (1 - a) * weights.
        loss_before : float, default=0.0
            What the losses are added to.

        Returns
        -------
        n_done, loss, n_correct : number of mini-batches run, sum of the weighted losses, number of right answers
            The last is 0 for losses that take no labels.
        """
        if largest is None:
            largest = int(np.max(np.diff(bounds)))
        most = self.n_training_threads(largest)
        self._check_input(X)
        loss.check_targets(targets, len(X), math.prod(self.out_shape), self.dtype)
        if sample_weight is not None and sample_weight.shape != (len(X),):
            raise ValueError(f"sample_weight must have shape {(len(X),)}, got {sample_weight.shape}")
        if averaging is not None and (state.average is None or len(averaging) != len(rates)):
            raise ValueError("averaging takes a number per mini-batch, and a solver_state(averages=True)")
        plan = self._take_trainer(largest, most)
        n_threads = most if n_threads is None else n_threads
        start = perf_counter()
        n_done = plan.engine.train(
            X, order, bounds, targets if loss.takes_labels else None,
            n_threads=n_threads, solver=SOLVERS[solver],
            settings=(*settings, 0.0, 0.0)[:7], rates=rates, weights=_address(self._storage),
            state_1=_address(state.first), state_2=_address(state.second), seed=seed, epoch=epoch, training=training,
            seconds=seconds, loss=loss.kind, parameter=loss.parameter,
            values=0 if loss.takes_labels else _address(targets), sample_weight=sample_weight, averaging=averaging,
            average=0 if averaging is None else _address(state.average), loss_before=loss_before,
        )  # fmt: skip
        if self.profile is not None:
            self.profile.add(plan, int(bounds[n_done] - bounds[0]), perf_counter() - start, n_threads)
        return n_done, plan.engine.loss_sum, plan.engine.n_correct

    def backward(self, X, dy, *, training=False):
        """Pull gradients back: from those by the outputs to those by the input and by the weights.

        Parameters
        ----------
        X : ndarray of shape (n_samples, *in_shape), as in `predict`
        dy : ndarray of shape (n_samples, *out_shape)
        training : bool, default=False
            Whether dropout acts (as for seed 0 in epoch 0), and X is normalised as one mini-batch, rather than by the
            running statistics. Those do not move.

        Returns
        -------
        dx : ndarray of shape (n_samples, *in_shape)
            By the standardised input.
        gradient : ndarray of shape (n_weights,)
        """
        self._check_input(X)
        n = len(X)
        if all(type(operation) is Reshape for operation in self.operations):
            return np.array(dy, dtype=self.dtype).reshape(X.shape), np.zeros(0, dtype=self.dtype)
        dy = np.require(dy, dtype=self.dtype, requirements=["C", "A"])
        dx = aligned_empty((n, *self.operations[0].in_shape), self.dtype)
        state = self.solver_state()
        n_threads = self.n_training_threads(n)
        plan = Plan(
            self.operations, self._segments, self._storage, statistics=self._statistics, isa=self.isa,
            n_threads=n_threads, capacity=n, mean=self.mean, scale=self.scale, wants_dx=True,
            reads_data=X.dtype.char == self.dtype.char,
        )  # fmt: skip
        plan.engine.train(
            X, np.arange(n), np.array([0, n]), None, n_threads=n_threads, solver=0,
            settings=(0.0, 0.0, 0.0, 0.0, False, 0.0, 0.0), rates=np.zeros(1), training=training,
            weights=_address(self._storage), state_1=_address(state.first), state_2=_address(state.second),
            dy=_address(dy), dx=_address(dx),
        )  # fmt: skip
        return dx, state.first[: self.n_weights]

    def pull_back(self, dy, *, out=None, mend=None):
        """Pull gradients by the outputs back to the input, through frozen linear operations: apply the adjoint.

        As `backward`, but without the forward pass, which no such operation needs.

        Parameters
        ----------
        dy : ndarray of shape (n_samples, *out_shape), C-contiguous, of the network's dtype
        out : ndarray of shape (n_samples, *in_shape), C-contiguous, of the network's dtype, default=None
        mend : callable, default=None
            Called with a result that is not finite.
        """
        for operation in self.operations:
            is_linear = isinstance(operation, Convolution) and operation.activation == "identity"
            if not (is_linear and not operation.trainable) and not isinstance(operation, Pad):
                raise ValueError(f"only frozen convolutions without activation and padding go back alone: {operation}")
        n, in_shape = len(dy), self.operations[0].in_shape
        if dy.shape[1:] != self.out_shape or dy.dtype != self.dtype or not dy.flags.c_contiguous:
            raise ValueError(f"dy must be C-contiguous {self.dtype} of shape (n, {str(self.out_shape)[1:]}")
        if out is None:
            out = aligned_empty((n, *in_shape), self.dtype)
        if n == 0:
            return out
        n_threads = max(1, min(effective_n_threads(), n, n * self._sample_work // THREAD_WORK))
        try:
            plan = self._adjoints.pop()  # owned while it runs, as in _take_predictor
        except IndexError:
            plan = None
        if plan is None or plan.engine.n_threads < n_threads:
            plan = Plan(
                self.operations, self._segments, self._storage, isa=self.isa, n_threads=n_threads, capacity=1,
                wants_dx=True,
            )  # fmt: skip
        piece = max(n_threads, n_threads * PIECE_WORK // self._sample_work)
        is_finite = True
        for start in range(0, n, piece):
            rows = slice(start, start + piece)
            is_finite &= plan.engine.pull_back(dy[rows], out[rows], n_threads=n_threads, checks_out=mend is not None)
        self._adjoints.append(plan)
        if not is_finite:
            mend(out)
        return out

    def release(self):
        """Give back the memory that training held."""
        self._trainer = None

    def loss_and_gradient(self, X, targets, alpha=0.0, *, training=False, loss=LOG_LOSS, sample_weight=None):
        """Mean loss over all samples as one mini-batch, and its gradient as a flat vector; arguments as in `train`.

        The gradient is that of the loss with the penalty, alpha / 2 / n_samples * w**2; the loss is without.
        """
        n = len(X)
        state = self.solver_state()
        _, total, _ = self.train(
            X, targets, np.arange(n), np.array([0, n]), state=state, solver="gradient", rates=np.zeros(1),
            settings=(alpha, 0.0, 0.0, 0.0, False), training=training, loss=loss, sample_weight=sample_weight,
        )  # fmt: skip
        return total / n, state.first[: self.n_weights]
