/* A generation: opening, counting references, lending scratches. */
#include "sched/generation.h"

#include "base/mem.h"

static cr_status alloc_room(cr_group_room *room, size_t tokens,
                            size_t sequences, size_t n_labels,
                            cr_error *error) {
    room->ids = cr_calloc(tokens, sizeof *room->ids);
    room->type_ids = cr_calloc(tokens, sizeof *room->type_ids);
    room->positions = cr_calloc(tokens, sizeof *room->positions);
    room->starts = cr_calloc(sequences + 1, sizeof *room->starts);
    room->logits = cr_calloc(sequences, n_labels * sizeof *room->logits);
    if (!room->ids || !room->type_ids || !room->positions || !room->starts ||
        !room->logits)
        return cr_fail_memory(error, tokens * 9, "a group of tokens");
    return CR_OK;
}

static cr_status alloc_rooms(cr_generation *g, cr_error *error) {
    const cr_backend_description *d = &g->backend->description;
    g->max_sequences = d->max_group_tokens / CR_MIN_TEXT_TOKENS + 1;
    g->rooms = cr_calloc(d->lanes, sizeof *g->rooms);
    if (!g->rooms)
        return cr_fail_memory(error, d->lanes * sizeof *g->rooms, "lanes");
    cr_status status = CR_OK;
    for (uint32_t i = 0; status == CR_OK && i < d->lanes; i++)
        status = alloc_room(&g->rooms[i], d->max_group_tokens, g->max_sequences,
                            g->n_labels, error);
    return status;
}

static cr_status open_model(cr_generation *g, const cr_options *o,
                            cr_error *error) {
    if (!o->model || !*o->model)
        return cr_fail(error, CR_ERR_ARGUMENT, "no model is named");
    cr_status status = cr_model_open(o->model, &g->model, error);
    if (status != CR_OK)
        return status;
    const cr_model_config *c = cr_model_get_config(g->model);
    g->max_length = o->max_length ? o->max_length : c->max_length;
    g->min_length =
        cr_tokenizer_pair_specials(cr_model_get_tokenizer(g->model));
    if (g->max_length < g->min_length || g->max_length > c->max_positions)
        return cr_fail(error, CR_ERR_ARGUMENT,
                       "max_length is %u, this model takes %u to %u tokens",
                       g->max_length, g->min_length, c->max_positions);
    g->n_labels = c->n_labels;
    g->truncation = o->truncation;
    g->activation =
        o->activation == CR_ACTIVATION_MODEL ? c->activation : o->activation;
    return CR_OK;
}

cr_status cr_generation_open(const cr_options *options, uint32_t lanes,
                             uint32_t number, cr_generation **generation,
                             cr_error *error) {
    *generation = NULL;
    cr_generation *g = cr_calloc(1, sizeof *g);
    if (!g)
        return cr_fail_memory(error, sizeof *g, "a model generation");
    g->number = number;
    atomic_init(&g->references, 1);
    pthread_mutex_init(&g->lock, NULL);
    const cr_backend_ops *ops = NULL;
    cr_status status = cr_backend_find(options->backend, &ops, error);
    if (status == CR_OK)
        status = open_model(g, options, error);
    if (status == CR_OK) {
        cr_backend_options backend = {.device = options->device,
                                      .dtype = options->dtype,
                                      .isa = options->isa,
                                      .lanes = lanes,
                                      .max_length = g->max_length};
        status = ops->open(g->model, &backend, &g->backend, error);
    }
    if (status == CR_OK)
        status = alloc_rooms(g, error);
    if (status == CR_OK)
        status = cr_model_sha256(g->model, g->sha256, error);
    if (status != CR_OK)
        cr_generation_unref(g);
    else
        *generation = g;
    return status;
}

cr_generation *cr_generation_ref(cr_generation *g) {
    atomic_fetch_add(&g->references, 1);
    return g;
}

void cr_generation_unref(cr_generation *g) {
    if (!g || atomic_fetch_sub(&g->references, 1) != 1)
        return;
    for (uint32_t i = 0; g->rooms && i < g->backend->description.lanes; i++) {
        cr_free(g->rooms[i].ids);
        cr_free(g->rooms[i].type_ids);
        cr_free(g->rooms[i].positions);
        cr_free(g->rooms[i].starts);
        cr_free(g->rooms[i].logits);
    }
    cr_free(g->rooms);
    for (size_t i = 0; i < g->n_scratches; i++)
        cr_token_scratch_free(g->scratches[i]);
    cr_free(g->scratches);
    if (g->backend)
        g->backend->ops->close(g->backend);
    cr_model_close(g->model);
    pthread_mutex_destroy(&g->lock);
    cr_free(g);
}

cr_status cr_generation_borrow(cr_generation *g, cr_token_scratch **scratch,
                               cr_error *error) {
    *scratch = NULL;
    pthread_mutex_lock(&g->lock);
    if (g->n_scratches)
        *scratch = g->scratches[--g->n_scratches];
    pthread_mutex_unlock(&g->lock);
    return *scratch ? CR_OK
                    : cr_token_scratch_new(g->max_length + CR_LONE_SPARE,
                                           scratch, error);
}

void cr_generation_give_back(cr_generation *g, cr_token_scratch *scratch) {
    bool kept = true;
    pthread_mutex_lock(&g->lock);
    if (g->n_scratches == g->scratch_capacity) {
        size_t more = g->scratch_capacity + 8;
        cr_token_scratch **grown =
            cr_realloc(g->scratches, more * sizeof *grown);
        if (grown) {
            g->scratches = grown;
            g->scratch_capacity = more;
        }
        kept = grown != NULL;
    }
    if (kept)
        g->scratches[g->n_scratches++] = scratch;
    pthread_mutex_unlock(&g->lock);
    if (!kept)
        cr_token_scratch_free(scratch);
}
