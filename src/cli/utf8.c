/* UTF-8 for the eye: a strict decoder and two short tables of ranges. */
#include "cli/utf8.h"

#include <stdbool.h>

/* The lead byte's row: how many bytes follow, and the limits of the first of
 * them, which keep out overlong forms, surrogates and what is over U+10FFFF. */
static bool lead_of(uint8_t lead, size_t *n_follow, uint8_t *low,
                    uint8_t *high) {
    *low = 0x80;
    *high = 0xbf;
    if (lead >= 0xc2 && lead <= 0xdf)
        *n_follow = 1;
    else if (lead >= 0xe0 && lead <= 0xef)
        *n_follow = 2;
    else if (lead >= 0xf0 && lead <= 0xf4)
        *n_follow = 3;
    else
        return false;
    if (lead == 0xe0)
        *low = 0xa0;
    else if (lead == 0xed)
        *high = 0x9f;
    else if (lead == 0xf0)
        *low = 0x90;
    else if (lead == 0xf4)
        *high = 0x8f;
    return true;
}

uint32_t cr_utf8_next(const char *s, size_t len, size_t *used) {
    uint8_t lead = (uint8_t)s[0], low, high;
    size_t n_follow;
    *used = 1;
    if (lead < 0x80)
        return lead;
    if (!lead_of(lead, &n_follow, &low, &high))
        return CR_REPLACEMENT;
    uint32_t code = lead & (0x3fu >> n_follow);
    for (size_t i = 1; i <= n_follow; i++) {
        if (i == len || (uint8_t)s[i] < low || (uint8_t)s[i] > high)
            return CR_REPLACEMENT;
        code = code << 6 | ((uint8_t)s[i] & 0x3fu);
        *used = i + 1;
        low = 0x80;
        high = 0xbf;
    }
    return code;
}

typedef struct range {
    uint32_t first, last;
} range;

static const range ZERO_WIDTH[] = {
    {0x300, 0x36f},   {0x483, 0x489},     {0x591, 0x5bd},   {0x610, 0x61a},
    {0x64b, 0x65f},   {0x6d6, 0x6dc},     {0x93c, 0x93c},   {0x941, 0x948},
    {0x94d, 0x94d},   {0xe31, 0xe31},     {0xe34, 0xe3a},   {0xe47, 0xe4e},
    {0x1ab0, 0x1aff}, {0x1dc0, 0x1dff},   {0x200b, 0x200f}, {0x202a, 0x202e},
    {0x2060, 0x2064}, {0x20d0, 0x20ff},   {0xfe00, 0xfe0f}, {0xfe20, 0xfe2f},
    {0xfeff, 0xfeff}, {0xe0100, 0xe01ef},
};

static const range WIDE[] = {
    {0x1100, 0x115f},   {0x231a, 0x231b},   {0x23e9, 0x23ec},
    {0x25fd, 0x25fe},   {0x2614, 0x2615},   {0x2648, 0x2653},
    {0x26aa, 0x26ab},   {0x26bd, 0x26be},   {0x2705, 0x2705},
    {0x2728, 0x2728},   {0x274c, 0x274c},   {0x2753, 0x2755},
    {0x2795, 0x2797},   {0x2b1b, 0x2b1c},   {0x2e80, 0x303e},
    {0x3041, 0x33ff},   {0x3400, 0x4dbf},   {0x4e00, 0x9fff},
    {0xa000, 0xa4cf},   {0xa960, 0xa97c},   {0xac00, 0xd7a3},
    {0xf900, 0xfaff},   {0xfe30, 0xfe6f},   {0xff00, 0xff60},
    {0xffe0, 0xffe6},   {0x1b000, 0x1b2ff}, {0x1f300, 0x1f64f},
    {0x1f680, 0x1f6ff}, {0x1f900, 0x1f9ff}, {0x1fa70, 0x1faff},
    {0x20000, 0x3fffd},
};

static bool within(const range *ranges, size_t n, uint32_t code_point) {
    size_t low = 0, high = n;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (code_point > ranges[middle].last)
            low = middle + 1;
        else
            high = middle;
    }
    return low < n && code_point >= ranges[low].first;
}

size_t cr_utf8_width(uint32_t code_point) {
    if (code_point < 0x300)
        return 1;
    if (within(ZERO_WIDTH, sizeof ZERO_WIDTH / sizeof *ZERO_WIDTH, code_point))
        return 0;
    return within(WIDE, sizeof WIDE / sizeof *WIDE, code_point) ? 2 : 1;
}

size_t cr_utf8_fit(const char *s, size_t len, size_t columns, size_t *width) {
    size_t at = 0, used;
    *width = 0;
    while (at < len) {
        size_t next = cr_utf8_width(cr_utf8_next(s + at, len - at, &used));
        if (*width + next > columns)
            break;
        *width += next;
        at += used;
    }
    return at;
}
