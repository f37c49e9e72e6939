/* Names: an open-addressing table of indices into a list. */
#include "lab/names.h"

#include "base/mem.h"

#include <string.h>

void cr_names_init(cr_names *names) { *names = (cr_names){0}; }

void cr_names_fini(cr_names *names) {
    for (uint32_t i = 0; i < names->n; i++)
        cr_free((void *)(uintptr_t)names->list[i].data);
    cr_free(names->list);
    cr_free(names->table);
    *names = (cr_names){0};
}

/* FNV-1a: ids are short. */
static uint64_t hash_of(cr_text name) {
    uint64_t hash = 14695981039346656037u;
    for (size_t i = 0; i < name.len; i++)
        hash = (hash ^ (uint8_t)name.data[i]) * 1099511628211u;
    return hash ^ hash >> 32;
}

/* The slot that holds `name`, or the free one where it belongs. */
static uint32_t slot_of(const cr_names *names, cr_text name) {
    uint32_t slot = (uint32_t)hash_of(name) & (names->n_slots - 1);
    for (; names->table[slot]; slot = (slot + 1) & (names->n_slots - 1)) {
        cr_text other = names->list[names->table[slot] - 1];
        if (other.len == name.len &&
            memcmp(other.data, name.data, name.len) == 0)
            break;
    }
    return slot;
}

uint32_t cr_names_find(const cr_names *names, cr_text name) {
    if (!names->n_slots)
        return CR_NO_NAME;
    uint32_t entry = names->table[slot_of(names, name)];
    return entry ? entry - 1 : CR_NO_NAME;
}

/* Twice the list and four times as many slots, so that chains stay short. */
static cr_status grow(cr_names *names, cr_error *error) {
    if (names->capacity >= UINT32_MAX / 8)
        return cr_fail(error, CR_ERR_INPUT,
                       "more than %u ids: split the collection",
                       names->capacity);
    uint32_t capacity = names->capacity ? names->capacity * 2 : 64;
    size_t bytes = capacity * sizeof *names->list;
    cr_text *list = cr_realloc(names->list, bytes);
    if (!list)
        return cr_fail_memory(error, bytes, "ids");
    names->list = list;
    uint32_t *table = cr_calloc((size_t)capacity * 2, sizeof *table);
    if (!table)
        return cr_fail_memory(error, capacity * 2 * sizeof *table, "ids");
    cr_free(names->table);
    names->table = table;
    names->n_slots = capacity * 2;
    names->capacity = capacity;
    for (uint32_t i = 0; i < names->n; i++)
        names->table[slot_of(names, names->list[i])] = i + 1;
    return CR_OK;
}

cr_status cr_names_add(cr_names *names, cr_text name, uint32_t *index,
                       cr_error *error) {
    uint32_t found = cr_names_find(names, name);
    if (found != CR_NO_NAME) {
        *index = found;
        return CR_OK;
    }
    if (names->n == names->capacity) {
        cr_status status = grow(names, error);
        if (status != CR_OK)
            return status;
    }
    char *copy = cr_strndup(name.data, name.len);
    if (!copy)
        return cr_fail_memory(error, name.len, "an id");
    names->list[names->n] = (cr_text){copy, name.len};
    names->table[slot_of(names, name)] = names->n + 1;
    *index = names->n++;
    return CR_OK;
}
