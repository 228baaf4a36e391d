"""What _core.pyx uses of the C library, the compiler and Unicorn."""

from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcpy, memset

cdef extern from "<sys/mman.h>" nogil:
    int PROT_READ, PROT_WRITE, MAP_PRIVATE, MAP_ANONYMOUS, MADV_DONTNEED
    void *MAP_FAILED
    void *mmap(void *address, size_t size, int prot, int flags, int fd, long offset)
    int munmap(void *address, size_t size)
    int madvise(void *address, size_t size, int advice)

cdef extern from *:
    """
    #define EMU_UNLIKELY(x) __builtin_expect(!!(x), 0)
    #define EMU_LIKELY(x) __builtin_expect(!!(x), 1)
    #define EMU_CLZ(x) ((x) ? __builtin_clz(x) : 32)
    /* The head of struct hook of unicorn 2.1.4 (include/uc_priv.h), which a uc_hook points at. */
    struct emu_hook_head { int type, insn, refs, op, op_flags; _Bool to_delete; uint64_t begin, end; void *callback, *user; };
    """
    bint unlikely "EMU_UNLIKELY"(bint) nogil
    bint likely "EMU_LIKELY"(bint) nogil
    int clz "EMU_CLZ"(uint32_t) nogil
    ctypedef struct HookHead "struct emu_hook_head":
        uint64_t begin, end
        void *callback
        void *user

cdef extern from "unicorn/unicorn.h" nogil:
    ctypedef struct uc_engine
    ctypedef struct uc_context
    ctypedef size_t uc_hook
    ctypedef int uc_err
    int UC_ARCH_ARM, UC_MODE_THUMB
    int UC_HOOK_BLOCK, UC_HOOK_CODE, UC_HOOK_INTR, UC_HOOK_MEM_INVALID, UC_HOOK_TLB_FILL
    int UC_TLB_VIRTUAL, UC_ERR_FETCH_PROT, UC_MEM_FETCH_PROT, UC_MEM_FETCH, UC_PROT_ALL, UC_PROT_READ, UC_PROT_WRITE
    ctypedef struct uc_tlb_entry:
        uint64_t paddr
        int perms
    uc_err uc_ctl_tlb_mode(uc_engine *, int mode)
    uc_err uc_ctl_set_tcg_buffer_size(uc_engine *, uint32_t size)
    uc_err uc_mmio_map(uc_engine *, uint64_t address, size_t size, void *read, void *, void *write, void *)
    int UC_ARM_REG_R0, UC_ARM_REG_SP, UC_ARM_REG_LR, UC_ARM_REG_PC, UC_ARM_REG_XPSR
    uc_err uc_open(int arch, int mode, uc_engine **out)
    uc_err uc_close(uc_engine *)
    uc_err uc_ctl_set_cpu_model(uc_engine *, int model)
    ctypedef struct uc_tb
    uc_err uc_ctl_remove_cache(uc_engine *, uint64_t address, uint64_t end)
    uc_err uc_ctl_request_cache(uc_engine *, uint64_t address, uc_tb *)
    uc_err uc_mem_map_ptr(uc_engine *, uint64_t address, size_t size, uint32_t perms, void *ptr)
    uc_err uc_hook_add(uc_engine *, uc_hook *, int type, void *callback, void *user, uint64_t begin, uint64_t end, ...)
    uc_err uc_emu_start(uc_engine *, uint64_t begin, uint64_t until, uint64_t timeout, size_t count)
    uc_err uc_emu_stop(uc_engine *)
    uc_err uc_reg_read(uc_engine *, int reg, void *value)
    uc_err uc_reg_write(uc_engine *, int reg, const void *value)
    uc_err uc_context_alloc(uc_engine *, uc_context **)
    uc_err uc_context_save(uc_engine *, uc_context *)
    uc_err uc_context_restore(uc_engine *, uc_context *)
    uc_err uc_context_free(uc_context *)
    const char *uc_strerror(uc_err)
