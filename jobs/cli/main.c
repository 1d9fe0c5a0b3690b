/* The `litho` command. */
#include "jobs/cli/cli.h"

#include <signal.h>

int main(int argc, char **argv)
{
    signal(SIGXFSZ, SIG_IGN); /* a file over the limit is a disk that refuses */
    return cli_main(argc, argv);
}
