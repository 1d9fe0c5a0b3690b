#include "jobs/cli/interrupts.h"

#include <signal.h>

static volatile sig_atomic_t count;

static void on_signal(int number)
{
    (void)number;
    if (count < 100)
        count++;
}

int interrupts_catch(struct err *e)
{
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
    struct sigaction action = {.sa_handler = on_signal};

    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < sizeof(numbers) / sizeof(*numbers); i++)
        if (sigaction(numbers[i], &action, NULL) != 0)
            return err_errno(e, "signal handler");
    return 0;
}

int interrupts_count(void)
{
    return count;
}
