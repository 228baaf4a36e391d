# cython: language_level=3, binding=False, annotation_typing=False, wraparound=False, auto_pickle=False
"""The generated C of one network as a Python module: the exact model, callable from Python.

Inputs and outputs are in storage types and layout (``manifest`` says which); genn.host converts from and to reals.

    import net                       # from DIR/build/host
    y, = net.run(x)                  # one sample: arrays of the stored shape
    y, = net.run_batch([xs], threads=4)
    layers = net.run_layers(x)       # bytes of every layer's outputs
"""

from cpython.buffer cimport (
    PyBUF_C_CONTIGUOUS, PyBUF_FORMAT, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
)
from libc.stdint cimport int64_t
from libc.stdlib cimport calloc, free

import json
import sys


cdef extern from "_host.h" nogil:
    ctypedef struct genn_host_value:
        size_t offset
        size_t bytes

    ctypedef struct genn_host_model:
        const char *manifest
        size_t arena_bytes
        size_t arena_align
        size_t n_inputs
        size_t n_outputs
        size_t n_layers
        size_t n_taps
        const genn_host_value *inputs
        const genn_host_value *outputs
        const genn_host_value *taps

    ctypedef struct genn_host_batch:
        const genn_host_model *model
        unsigned char **in_ "in"
        unsigned char **out
        unsigned char **taps
        int64_t *progress
        size_t samples
        int status

    const genn_host_model genn_host_table
    int genn_host_run(genn_host_batch *batch, size_t threads)


cdef class _Buffers:
    """The addresses of a list of objects' memory, held until close()."""

    cdef Py_buffer *views
    cdef unsigned char **at
    cdef size_t n

    def __cinit__(self, size_t n):
        self.views = <Py_buffer *>calloc(n + 1, sizeof(Py_buffer))
        self.at = <unsigned char **>calloc(n + 1, sizeof(void *))
        if self.views == NULL or self.at == NULL:
            raise MemoryError()

    cdef int add(self, obj, size_t want, int flags, what) except -1:
        if obj is not None:
            PyObject_GetBuffer(obj, &self.views[self.n], flags | PyBUF_C_CONTIGUOUS)
            self.at[self.n] = <unsigned char *>self.views[self.n].buf
            if <size_t>self.views[self.n].len != want:
                got = self.views[self.n].len
                PyBuffer_Release(&self.views[self.n])
                raise ValueError(f"{what} has {got} bytes, it takes {want}")
        self.n += 1
        return 0

    def __dealloc__(self):
        cdef size_t i
        for i in range(self.n):
            if self.at[i] != NULL:
                PyBuffer_Release(&self.views[i])
        free(self.views)
        free(self.at)


def run_into(inputs, outputs, size_t samples, size_t threads=1, taps=None, progress=None):
    """Run a batch from and into buffers of exact size, without the GIL; outputs and taps may hold None.

    taps: buffers for every layer's outputs (``tap_bytes``), which makes the layers be called one by one.
    progress: a writable buffer of two int64 that always holds the sample and the layer that runs.
    """
    cdef const genn_host_model *m = &genn_host_table
    cdef genn_host_batch batch
    cdef _Buffers ins = _Buffers(m.n_inputs), outs = _Buffers(m.n_outputs), seen = _Buffers(m.n_taps)
    cdef _Buffers mark = _Buffers(1)
    cdef size_t i
    cdef int status
    if len(inputs) != m.n_inputs or len(outputs) != m.n_outputs or (taps is not None and len(taps) != m.n_taps):
        raise ValueError(f"the network has {m.n_inputs} inputs, {m.n_outputs} outputs and {m.n_taps} layer outputs")
    for i in range(m.n_inputs):
        ins.add(inputs[i], samples * m.inputs[i].bytes, 0, f"input {i}")
        if ins.at[i] == NULL and m.inputs[i].bytes and samples:
            raise ValueError(f"input {i} is missing")
    for i in range(m.n_outputs):
        outs.add(outputs[i], samples * m.outputs[i].bytes, PyBUF_WRITABLE, f"output {i}")
        if outs.at[i] == NULL and m.outputs[i].bytes and samples:
            raise ValueError(f"output {i} is missing")
    if taps is not None:
        for i in range(m.n_taps):
            seen.add(taps[i], samples * m.taps[i].bytes, PyBUF_WRITABLE, f"layer output {i}")
    mark.add(progress, 16, PyBUF_WRITABLE, "progress")
    batch.model = m
    batch.in_ = ins.at
    batch.out = outs.at
    batch.taps = NULL if taps is None else seen.at
    batch.progress = <int64_t *>mark.at[0]
    batch.samples = samples
    with nogil:
        status = genn_host_run(&batch, threads)
    if status == -1:
        raise MemoryError(f"no memory for an arena of {m.arena_bytes} bytes")
    if status:
        raise RuntimeError(f"the network's run function returned {status}")


def _checked(array, value):
    """``array`` as an array of the stored type; TypeError, never a conversion."""
    if not isinstance(array, (bytes, bytearray, memoryview)) and getattr(array, "dtype", None) != value["dtype"]:
        raise TypeError(f"input {value['name']} takes {value['dtype']}, not {getattr(array, 'dtype', type(array).__name__)}")
    return array


def run_batch(inputs, size_t threads=1):
    """Run S samples: for each input an array (S, *shape) of its dtype, in C order.  Returns the outputs likewise."""
    import numpy
    inputs = list(inputs)
    if len(inputs) != len(manifest["inputs"]):
        raise ValueError(f"the network has {len(manifest['inputs'])} inputs, {len(inputs)} were given")
    inputs = [_checked(x, v) for x, v in zip(inputs, manifest["inputs"])]
    samples = memoryview(inputs[0]).nbytes // max(1, manifest["inputs"][0]["bytes"]) if inputs else 1
    outputs = [numpy.empty((samples, *v["shape"]), v["dtype"]) for v in manifest["outputs"]]
    run_into(inputs, outputs, samples, threads)
    return outputs


def run(*inputs):
    """Run one sample: for each input an array of its shape and dtype, or its bytes.  Returns a list of arrays."""
    import numpy
    if len(inputs) != len(manifest["inputs"]):
        raise ValueError(f"the network has {len(manifest['inputs'])} inputs, {len(inputs)} were given")
    outputs = [numpy.empty(v["shape"], v["dtype"]) for v in manifest["outputs"]]
    run_into([_checked(x, v) for x, v in zip(inputs, manifest["inputs"])], outputs, 1)
    return outputs


def run_layers(*inputs):
    """Run one sample layer by layer.  Returns for each layer the list of its outputs' bytes, taken as it ended."""
    if len(inputs) != len(manifest["inputs"]):
        raise ValueError(f"the network has {len(manifest['inputs'])} inputs, {len(inputs)} were given")
    taps = [bytearray(n) for n in tap_bytes]
    outputs = [bytearray(v["bytes"]) for v in manifest["outputs"]]
    run_into([_checked(x, v) for x, v in zip(inputs, manifest["inputs"])], outputs, 1, 1, taps)
    found = iter(taps)
    return [[bytes(next(found)) for _ in layer["outputs"]] for layer in manifest["layers"]]


manifest = json.loads(genn_host_table.manifest.decode())
name = manifest["name"]
arena_bytes = genn_host_table.arena_bytes
inputs = manifest["inputs"]
outputs = manifest["outputs"]
layers = manifest["layers"]
tap_bytes = [genn_host_table.taps[_i].bytes for _i in range(genn_host_table.n_taps)]
# Cython enters the module under the name of its source too, which is one name for all networks.
sys.modules.pop("genn._host", None)
