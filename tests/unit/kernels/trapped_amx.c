/* A SIGILL handler that knows AMX; see trapped_amx.h. Compiled with
 * CR_EMULATED. */
#include "trapped_amx.h"

#if defined(__linux__)

#include "kernels/amx_tiles.h"

#include <signal.h>
#include <stdbool.h>
#include <ucontext.h>

/* Encodings: VEX.128.0F38.W0, by prefix and opcode. Intel 64 and IA-32
 * Architectures Software Developer's Manual, volume 2. */
enum { NONE, P66, PF3, PF2 };
enum { SHAPES = 0x49, MOVE = 0x4b, DOT_BF16 = 0x5c, DOT_INT8 = 0x5e };

/* An instruction taken apart. */
typedef struct tile_instruction {
    int prefix, opcode;
    int reg, rm; /* tiles, where rm is no memory */
    int third;   /* the tile named by the prefix */
    bool memory;
    uintptr_t address; /* without the index, which holds the step */
    size_t step;
    size_t bytes;
} tile_instruction;

/* The register that an instruction calls `n`. */
static uint64_t register_of(const ucontext_t *u, int n) {
    static const int places[] = {
        REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
        REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};
    return (uint64_t)u->uc_mcontext.gregs[places[n]];
}

/* Reads what is behind the byte that names the operands. */
static void read_address(const ucontext_t *u, const uint8_t *p, int high_x,
                         int high_b, tile_instruction *t) {
    int mode = *p >> 6, base = *p & 7;
    const uint8_t *at = p + 1;
    int32_t far = 0;
    if (base == 4) { /* an index follows */
        int index = (*at >> 3 & 7) | high_x << 3;
        t->step = index == 4 ? 0 : register_of(u, index) << (*at >> 6);
        base = *at++ & 7;
    }
    bool bare = mode == 0 && base == 5; /* no base, or the next instruction */
    if (mode == 1)
        far = (int8_t)*at++;
    if (mode == 2 || bare) {
        memcpy(&far, at, sizeof far);
        at += sizeof far;
    }
    uint64_t from = register_of(u, base | high_b << 3);
    if (bare)
        from = (*p & 7) == 5 ? (uintptr_t)at : 0;
    t->address = from + (uint64_t)(int64_t)far;
    t->bytes = (size_t)(at - p) + 4;
}

static bool read_instruction(const ucontext_t *u, tile_instruction *t) {
    const uint8_t *p = (const uint8_t *)u->uc_mcontext.gregs[REG_RIP];
    if (p[0] != 0xc4 || (p[1] & 0x1f) != 2 || p[2] & 0x84)
        return false;
    *t = (tile_instruction){.prefix = p[2] & 3,
                            .opcode = p[3],
                            .reg = p[4] >> 3 & 7,
                            .rm = p[4] & 7,
                            .third = ~p[2] >> 3 & 7,
                            .memory = p[4] >> 6 != 3,
                            .bytes = 5};
    if (t->memory)
        read_address(u, p + 4, !(p[1] & 0x40), !(p[1] & 0x20), t);
    return true;
}

static bool run_move(const tile_instruction *t) {
    void *address = (void *)t->address;
    if (!t->memory)
        return false;
    if (t->prefix == PF2)
        tile_load(t->reg, address, t->step);
    else if (t->prefix == P66)
        tile_load_far(t->reg, address, t->step);
    else if (t->prefix == PF3)
        tile_store(t->reg, address, t->step);
    else
        return false;
    return true;
}

static bool run_shapes(const tile_instruction *t) {
    if (t->prefix == NONE && t->memory)
        tile_configure((const tile_shapes *)t->address);
    else if (t->prefix == NONE && t->reg == 0 && t->rm == 0)
        tile_release();
    else if (t->prefix == PF2 && !t->memory && t->rm == 0)
        tile_zero(t->reg);
    else
        return false;
    return true;
}

static bool run_instruction(const tile_instruction *t) {
    if (t->opcode == SHAPES)
        return run_shapes(t);
    if (t->opcode == MOVE)
        return run_move(t);
    if (t->opcode == DOT_BF16 && t->prefix == PF3 && !t->memory)
        tile_dot_bf16(t->reg, t->rm, t->third);
    else if (t->opcode == DOT_INT8 && t->prefix == PF2 && !t->memory)
        tile_dot_int8(t->reg, t->rm, t->third);
    else
        return false;
    return true;
}

static struct sigaction before;
static volatile size_t n_trapped;

static void on_bad_instruction(int signal, siginfo_t *info, void *context) {
    (void)signal;
    (void)info;
    ucontext_t *u = context;
    tile_instruction t;
    if (!read_instruction(u, &t) || !run_instruction(&t)) {
        sigaction(SIGILL, &before, NULL); /* it will happen again */
        return;
    }
    n_trapped++;
    u->uc_mcontext.gregs[REG_RIP] += (greg_t)t.bytes;
}

void trap_tiles(void) {
    struct sigaction ours = {.sa_sigaction = on_bad_instruction,
                             .sa_flags = SA_SIGINFO};
    n_trapped = 0;
    sigaction(SIGILL, &ours, &before);
}

size_t untrap_tiles(void) {
    sigaction(SIGILL, &before, NULL);
    return n_trapped;
}

#endif
