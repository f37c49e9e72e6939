/* Clients: answers in every form that HTTP has for them, and those that are
 * none; connections that end between two requests and in the middle of one. */
#include "lab/client.h"
#include "lab/grpc_client.h"

#include "scripted.h"

#define OK_LENGTH(n, body)                                                     \
    "HTTP/1.1 200 OK\r\nContent-Length: " #n "\r\n\r\n" body
#define CHUNKED "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

static cr_status ask(cr_client *client, cr_answer *answer, cr_error *error) {
    return cr_client_ask(client, "POST", "/rerank", (cr_text){"{}", 2}, answer,
                         error);
}

typedef struct answer_case {
    const char *bytes, *body; /* body NULL: it fails */
    int http;
    cr_status status;
    const char *message;
} answer_case;

static void test_answers(void **state) {
    (void)state;
    static const answer_case CASES[] = {
        {OK_LENGTH(5, "hello"), "hello", 200, CR_OK, NULL},
        {"HTTP/1.1 200 OK\r\ncontent-length:0\r\n\r\n", "", 200, CR_OK, NULL},
        {CHUNKED "2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\n\r\n", "hello", 200, CR_OK,
         NULL},
        /* Until the end of the connection. */
        {"HTTP/1.0 200 OK\r\n\r\nhello", "hello", 200, CR_OK, NULL},
        {"HTTP/1.1 204 No Content\r\n\r\n", "", 204, CR_OK, NULL},
        {"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\n"
         "Content-Length: 2\r\n\r\nno",
         "no", 429, CR_OK, NULL},
        {"SSH-2.0-OpenSSH\r\n\r\n", NULL, 0, CR_ERR_INPUT, "not HTTP/1"},
        {CHUNKED "zz\r\n", NULL, 200, CR_ERR_INPUT, "bad chunk"},
        {CHUNKED "ffffffffff\r\n", NULL, 200, CR_ERR_INPUT, "bad chunk"},
        {OK_LENGTH(9, "hello"), NULL, 200, CR_ERR_IO, "hung up in its answer"},
        {CHUNKED "5\r\nhel", NULL, 200, CR_ERR_IO, "hung up in its answer"},
        {"", NULL, 0, CR_ERR_IO, "hung up"},
        {"HTTP/1.1 200 OK\r\nContent-Le", NULL, 0, CR_ERR_IO, "hung up"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        const answer_case *c = &CASES[i];
        scripted server = {.steps = {{c->bytes}}};
        cr_client client;
        cr_answer answer;
        cr_error error = {.message = ""};
        scripted_start(&server);
        assert_int_equal(cr_client_init(&client, server.url, &error), CR_OK);
        cr_status status = ask(&client, &answer, &error);
        if (status != c->status)
            fail_msg("case %zu: %d: %s", i, (int)status, error.message);
        assert_int_equal(answer.status, c->http);
        if (c->body) {
            assert_int_equal(answer.body.len, strlen(c->body));
            assert_memory_equal(answer.body.data, c->body, answer.body.len);
            assert_true(answer.answered_ns >= answer.sent_ns);
        } else {
            assert_non_null(strstr(error.message, c->message));
        }
        cr_client_fini(&client);
        scripted_stop(&server);
    }
}

/* Kept alive where the server does; opened again where it did not. */
static void test_connections(void **state) {
    (void)state;
    scripted server = {.steps = {{OK_LENGTH(1, "a"), OK_LENGTH(1, "b")},
                                 {OK_LENGTH(1, "c")},
                                 {"HTTP/1.1 200 OK\r\nConnection: close\r\n"
                                  "Content-Length: 1\r\n\r\nd"}}};
    cr_client client;
    cr_answer answer;
    cr_error error = {.message = ""};
    scripted_start(&server);
    assert_int_equal(cr_client_init(&client, server.url, &error), CR_OK);
    for (const char *want = "abcd"; *want; want++) {
        if (ask(&client, &answer, &error) != CR_OK)
            fail_msg("%c: %s", *want, error.message);
        assert_int_equal(answer.body.data[0], *want);
    }
    assert_int_equal(client.fd, -1);
    assert_int_equal(server.n_requests, 4);
    cr_client_fini(&client);
    scripted_stop(&server);
}

/* A request that the server began to answer is never sent twice. */
static void test_begun_is_not_repeated(void **state) {
    (void)state;
    scripted server = {.steps = {{OK_LENGTH(1, "a"), OK_LENGTH(9, "cut")},
                                 {OK_LENGTH(1, "c")}}};
    cr_client client;
    cr_answer answer;
    cr_error error = {.message = ""};
    scripted_start(&server);
    assert_int_equal(cr_client_init(&client, server.url, &error), CR_OK);
    assert_int_equal(ask(&client, &answer, &error), CR_OK);
    assert_int_equal(ask(&client, &answer, &error), CR_ERR_IO);
    assert_int_equal(server.n_requests, 2);
    assert_int_equal(ask(&client, &answer, &error), CR_OK);
    cr_client_fini(&client);
    scripted_stop(&server);
}

static void test_urls(void **state) {
    (void)state;
    static const struct {
        const char *url, *host, *port, *base; /* host NULL: refused */
    } CASES[] = {{"http://a", "a", "80", ""},
                 {"http://a:8080", "a", "8080", ""},
                 {"http://a:8080/", "a", "8080", ""},
                 {"http://a.b/c/d//", "a.b", "80", "/c/d"},
                 {"https://a", NULL, "", ""},
                 {"a:80", NULL, "", ""},
                 {"http://", NULL, "", ""},
                 {"http://a:", NULL, "", ""},
                 {"http://a:8x", NULL, "", ""},
                 {"http://a:123456789", NULL, "", ""}};
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        cr_dial d;
        cr_error error;
        cr_status status = cr_dial_parse(&d, CASES[i].url, &error);
        if ((status == CR_OK) != (CASES[i].host != NULL))
            fail_msg("%s: %d", CASES[i].url, (int)status);
        if (status != CR_OK) {
            assert_non_null(strstr(error.message, CASES[i].url));
            continue;
        }
        assert_string_equal(d.host, CASES[i].host);
        assert_string_equal(d.port, CASES[i].port);
        assert_string_equal(d.base, CASES[i].base);
    }
}

/* What a server of gRPC says is tested with ours, end to end; here are those
 * that are none. */
static void test_no_grpc(void **state) {
    (void)state;
    static const struct {
        const char *bytes;
        cr_status status;
        const char *message;
    } CASES[] = {
        {"HTTP/1.1 400 Bad Request\r\n\r\n", CR_ERR_INPUT, "not HTTP/2"},
        {"", CR_ERR_IO, "hung up"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        scripted server = {.steps = {{CASES[i].bytes}}};
        cr_grpc_client *client;
        cr_grpc_answer answer;
        cr_error error = {.message = ""};
        scripted_start(&server);
        assert_int_equal(cr_grpc_client_open(server.url, &client, &error),
                         CR_OK);
        cr_status status = cr_grpc_client_call(
            client, "/a.B/C", (cr_text){"", 0}, &answer, &error);
        if (status != CASES[i].status)
            fail_msg("case %zu: %d: %s", i, (int)status, error.message);
        assert_non_null(strstr(error.message, CASES[i].message));
        cr_grpc_client_close(client);
        scripted_stop(&server);
    }
    cr_grpc_client *client;
    cr_error error;
    assert_int_equal(cr_grpc_client_open("http://a:1/b", &client, &error),
                     CR_ERR_ARGUMENT);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers),
        cmocka_unit_test(test_connections),
        cmocka_unit_test(test_begun_is_not_repeated),
        cmocka_unit_test(test_urls),
        cmocka_unit_test(test_no_grpc),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
