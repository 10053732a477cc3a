/* The files of the port for other hosts: what is taken, and what is refused with which words. Made by openssl. */
#include "hs_test.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "service/endpoint/tls.h"

static char dir[64], certificate[96], key[96], client_ca[96], token[96];
static struct hs_tls_files files;

static void run(const char *command)
{
	char line[512];

	(void)snprintf(line, sizeof(line), "cd %s && (%s) 2>log || { cat log; false; }", dir, command);
	ck_assert_msg(system(line) == 0, "%s", command);
}

#define KEY_PAIR                                                                                                       \
	"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=x -keyout %1$s.key "   \
	"-out %1$s.pem"

static void make(void)
{
	char command[512];

	(void)snprintf(dir, sizeof(dir), "/tmp/hs-tls-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	(void)snprintf(certificate, sizeof(certificate), "%s/own.pem", dir);
	(void)snprintf(key, sizeof(key), "%s/own.key", dir);
	(void)snprintf(client_ca, sizeof(client_ca), "%s/ca.pem", dir);
	(void)snprintf(token, sizeof(token), "%s/token", dir);
	files = (struct hs_tls_files){ certificate, key, client_ca, token };
	(void)snprintf(command, sizeof(command), "umask 077; " KEY_PAIR, "own");
	run(command);
	(void)snprintf(command, sizeof(command), "umask 077; " KEY_PAIR, "ca");
	run(command);
	run("umask 077; printf '%064d\\n' 7 >token; mkdir good; cp -a own.* ca.* token good/");
}

static void drop(void)
{
	char line[128];

	(void)snprintf(line, sizeof(line), "rm -rf %s", dir);
	ck_assert_int_eq(system(line), 0);
}

static const struct {
	const char *command; /* which spoils a file */
	int rc;
	const char *text; /* of the error */
} spoilt[] = {
	{ "chmod 640 own.key", -EPERM, "chmod 600" },
	{ "chmod 604 token", -EPERM, "chmod 600" },
	{ "chmod 664 own.pem", -EPERM, "chmod go-w" },
	{ "chmod 646 ca.pem", -EPERM, "chmod go-w" },
	{ "chown nobody own.key", -EPERM, "give it to root" },
	{ "chown nobody ca.pem", -EPERM, "give it to root" },
	{ "cp ca.key own.key", -EINVAL, "is not its key" },
	{ "openssl ec -in ca.key -aes128 -passout pass:x -out own.key; chmod 600 own.key", -EINVAL,
	  "needs a password" },
	{ "echo no >own.pem", -EINVAL, "no certificate in PEM" },
	{ "echo no >own.key", -EINVAL, "is not its key" },
	{ "echo no >ca.pem", -EINVAL, "no certificate in PEM" },
	{ "cp ca.key ca.pem", -EINVAL, "no certificate in PEM" },
	{ "printf %031d 7 >token", -EINVAL, "openssl rand" },
	{ "printf '%040d %040d' 7 7 >token", -EINVAL, "openssl rand" },
	{ "cat good/token good/token >token", -EINVAL, "openssl rand" },
	{ "printf '%01025d' 7 >token", -EINVAL, "openssl rand" },
	{ ": >token", -EINVAL, "is empty" },
	{ "head -c 262145 /dev/zero >own.pem", -EINVAL, "larger than 256 KiB" },
	{ "rm token; mkdir token", -EINVAL, "no regular file" },
	{ "rm token; mkfifo token; chmod 600 token", -EINVAL, "no regular file" },
	{ "rm ca.pem", -ENOENT, "ca.pem: No such file" },
	{ "rm own.pem; ln -s own.pem own.pem", -ELOOP, "own.pem" },
};

START_TEST(test_service_tls_spoilt)
{
	make();
	for (size_t i = 0; i < sizeof(spoilt) / sizeof(spoilt[0]); i++) {
		struct hs_tls *t = NULL;
		struct hs_error err = { "" };

		if (geteuid() != 0 && strstr(spoilt[i].command, "chown"))
			continue;
		run(spoilt[i].command);
		ck_assert_msg(hs_tls_load(&t, &files, &err) == spoilt[i].rc && strstr(err.text, spoilt[i].text),
			      "%s: %s", spoilt[i].command, err.text);
		ck_assert_ptr_null(t);
		run("rm -rf own.* ca.* token; cp -a good/* .");
	}
	drop();
}
END_TEST

/* Each of the two means alone, both, and none. */
START_TEST(test_service_tls_means)
{
	char good[128], other[128];
	struct hs_tls *t = NULL, *again = NULL;
	struct hs_error err = { "" };

	make();
	ck_assert_int_eq(hs_tls_load(&t, &files, &err), 0);
	ck_assert_int_ge(hs_tls_expires_s(t), (int64_t)time(NULL) + 86400);
	ck_assert_int_le(hs_tls_expires_s(t), (int64_t)time(NULL) + 3 * 86400);
	(void)snprintf(good, sizeof(good), "Bearer %064d", 7);
	ck_assert(hs_tls_is_authorized(t, good));
	(void)snprintf(good, sizeof(good), "bearer   %064d", 7);
	ck_assert(hs_tls_is_authorized(t, good));
	(void)snprintf(other, sizeof(other), "Bearer %064d", 8);
	ck_assert(!hs_tls_is_authorized(t, other));
	(void)snprintf(other, sizeof(other), "Bearer %063d", 7);
	ck_assert(!hs_tls_is_authorized(t, other));
	(void)snprintf(other, sizeof(other), "Bearer %064d ", 7);
	ck_assert(!hs_tls_is_authorized(t, other));
	(void)snprintf(other, sizeof(other), "Basic %064d", 7);
	ck_assert(!hs_tls_is_authorized(t, other));
	ck_assert(!hs_tls_is_authorized(t, "Bearer "));
	ck_assert(!hs_tls_is_authorized(t, ""));
	ck_assert(!hs_tls_is_authorized(t, NULL));

	ck_assert_int_eq(hs_tls_load(&again, &files, &err), 0);
	ck_assert(hs_tls_same(t, again));
	hs_tls_free(again);
	run("printf '%064d' 8 >token");
	ck_assert_int_eq(hs_tls_load(&again, &files, &err), 0);
	ck_assert(!hs_tls_same(t, again));
	hs_tls_free(again);
	hs_tls_free(t);

	files.token = "";
	ck_assert_int_eq(hs_tls_load(&t, &files, &err), 0);
	ck_assert(hs_tls_is_authorized(t, NULL)); /* its certificate was enough */
	hs_tls_free(t);
	files.client_ca = NULL;
	ck_assert_int_eq(hs_tls_load(&t, &files, &err), -EINVAL);
	ck_assert_ptr_nonnull(strstr(err.text, "client_ca or token_file is needed"));
	files.token = token;
	ck_assert_int_eq(hs_tls_load(&t, &files, &err), 0);
	hs_tls_free(t);
	files.key = "";
	ck_assert_int_eq(hs_tls_load(&t, &files, &err), -EINVAL);
	hs_tls_free(NULL);
	drop();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("service/tls");
	TCase *c = tcase_create("all");

	tcase_set_timeout(c, 120);
	tcase_add_test(c, test_service_tls_spoilt);
	tcase_add_test(c, test_service_tls_means);
	suite_add_tcase(s, c);
	return hs_test_run(s);
}
