#include "engine/schedule_config.h"

#include "proto/json.h"

#include <math.h>

struct schedule_config {
    char *where;
    json_t *root;
    double *trained_betas; /* [n_train] or NULL */
};

/* One value of a key that stands for one of our numbers. */
struct choice {
    const char *name;
    int value;
};

static const struct choice predictions[] = {{"epsilon", PREDICTION_EPSILON},
                                            {"v_prediction", PREDICTION_V},
                                            {"sample", PREDICTION_SAMPLE},
                                            {NULL, 0}};
static const struct choice beta_schedules[] = {{"linear", BETA_LINEAR},
                                               {"scaled_linear", BETA_SCALED_LINEAR},
                                               {"squaredcos_cap_v2", BETA_SQUAREDCOS},
                                               {NULL, 0}};
static const struct choice spacings[] = {{"leading", SPACING_LEADING},
                                         {"trailing", SPACING_TRAILING},
                                         {"linspace", SPACING_LINSPACE},
                                         {NULL, 0}};
static const struct choice last_sigmas[] = {{"zero", 0}, {"sigma_min", 1}, {NULL, 0}};
/* The names that UniPC and DEIS write mean midpoint to diffusers' DPMSolverMultistepScheduler. */
static const struct choice solver_types[] = {{"midpoint", 0}, {"heun", 1}, {"logrho", 0},
                                             {"bh1", 0},      {"bh2", 0},  {NULL, 0}};
static const struct choice algorithms[] = {{"dpmsolver++", 0}, {"deis", 0}, {NULL, 0}};
static const struct choice linear_only[] = {{"linear", 0}, {NULL, 0}};
static const struct choice discrete_only[] = {{"discrete", 0}, {NULL, 0}};

/* "file: 'key' is value, which ... does not support", with the value as the file has it. */
static int refuse(struct json_reader *r, const json_t *root, const char *key, const char *why)
{
    struct buf value = {0};

    if (r->rc)
        return r->rc;
    json_canonical(json_object_get(root, key), &value);
    r->rc =
        err_set(r->e, ERR_INPUT, "%s: '%s' is %.100s, %s", r->where, key, buf_text(&value), why);
    buf_done(&value);
    return r->rc;
}

static int choose(struct json_reader *r, const json_t *root, const char *key,
                  const struct choice *choices, const char *otherwise)
{
    const char *name = json_get_string_or(r, root, key, otherwise);

    if (r->rc)
        return 0;
    for (int i = 0; choices[i].name; i++)
        if (strcmp(choices[i].name, name) == 0)
            return choices[i].value;
    refuse(r, root, key, "which this engine does not support");
    return 0;
}

/* A number in min..max; `otherwise` where the key is missing. */
static double real_within(struct json_reader *r, const json_t *root, const char *key, double min,
                          double max, double otherwise)
{
    double x = json_get_real_or(r, root, key, otherwise);

    if (r->rc == 0 && x != otherwise && !(x >= min && x <= max))
        refuse(r, root, key, "outside its range");
    return x;
}

static void must_be_false(struct json_reader *r, const json_t *root, const char *key)
{
    if (json_get_bool_or(r, root, key, false))
        refuse(r, root, key, "which this engine does not support");
}

/* What every class has; the rest of settings is left alone. */
static void read_process(struct json_reader *r, const json_t *root, struct schedule_settings *s)
{
    const char *class = json_get_string_or(r, root, "_class_name", "");

    if (strstr(class, "Flow") || strstr(class, "EDM") || strstr(class, "ConsistencyModels"))
        refuse(r, root, "_class_name", "whose noise process is not a chain of betas");
    s->n_train = (int)json_get_int_or(r, root, "num_train_timesteps", 2, SCHEDULE_TRAIN_MAX, 1000);
    s->beta_start = real_within(r, root, "beta_start", 1e-12, 0.999, 0.0001);
    s->beta_end = real_within(r, root, "beta_end", 1e-12, 0.999, 0.02);
    s->beta_schedule =
        (enum beta_schedule)choose(r, root, "beta_schedule", beta_schedules, "linear");
    s->zero_snr = json_get_bool_or(r, root, "rescale_betas_zero_snr", false);
    s->prediction = (enum prediction)choose(r, root, "prediction_type", predictions, "epsilon");
    s->steps_offset = (int)json_get_int_or(r, root, "steps_offset", 0, s->n_train - 1, 0);
}

/* Copies trained_betas out of the file, checked. */
static int read_trained_betas(struct json_reader *r, struct schedule_config *c, int n_train)
{
    const json_t *list = json_object_get(c->root, "trained_betas");

    if (!list || json_is_null(list))
        return 0;
    if (!json_is_array(list) || json_array_size(list) != (size_t)n_train)
        return err_set(r->e, ERR_INPUT, "%s: 'trained_betas' must be a list of %d numbers",
                       r->where, n_train);
    c->trained_betas = calloc((size_t)n_train, sizeof *c->trained_betas);
    if (!c->trained_betas)
        return err_set(r->e, ERR_OOM, "%s: no memory for %d betas", r->where, n_train);
    for (int i = 0; i < n_train; i++) {
        const json_t *item = json_array_get(list, (size_t)i);
        double beta = json_number_value(item);
        if (!json_is_number(item) || !(beta >= 1e-12 && beta <= 0.9999))
            return err_set(r->e, ERR_INPUT, "%s: 'trained_betas'[%d] must lie between 0 and 1",
                           r->where, i);
        c->trained_betas[i] = beta;
    }
    return 0;
}

int schedule_config_parse(const char *where, const char *json, size_t size,
                          struct schedule_config **ret_c, struct err *e)
{
    struct json_reader r = {.where = where, .e = e};
    struct schedule_settings s = {0};
    struct schedule_config *c = calloc(1, sizeof *c);
    int rc = 0;

    if (!c)
        return err_set(e, ERR_OOM, "%s: no memory", where);
    c->where = strdup(where);
    if (!c->where)
        TRY(err_set(e, ERR_OOM, "%s: no memory", where));
    TRY(json_read(where, json, size, &c->root, e));
    if (!json_is_object(c->root))
        TRY(err_set(e, ERR_INPUT, "%s: must be a JSON object", where));
    read_process(&r, c->root, &s);
    TRY(r.rc);
    TRY(read_trained_betas(&r, c, s.n_train));
    *ret_c = c;
    c = NULL;
out:
    schedule_config_free(c);
    return rc;
}

int schedule_config_open(const char *path, struct schedule_config **ret_c, struct err *e)
{
    struct buf text = {0};
    int rc;

    TRY(buf_read_file(&text, path, SCHEDULE_FILE_MAX, e));
    TRY(schedule_config_parse(path, buf_text(&text), text.size, ret_c, e));
out:
    buf_done(&text);
    return rc;
}

void schedule_config_free(struct schedule_config *c)
{
    if (!c)
        return;
    json_decref(c->root);
    free(c->trained_betas);
    free(c->where);
    free(c);
}

static void read_ddim(struct json_reader *r, const json_t *root, struct schedule_settings *s)
{
    s->clip = json_get_bool_or(r, root, "clip_sample", true);
    s->clip_range = real_within(r, root, "clip_sample_range", 1e-6, 1e6, 1.0);
    s->alpha_to_one = json_get_bool_or(r, root, "set_alpha_to_one", true);
    must_be_false(r, root, "thresholding");
}

/* The keys that choose a range of sigmas: EulerDiscrete and DPMSolverMultistep have them. */
static void read_sigmas(struct json_reader *r, const json_t *root, enum scheduler_id scheduler,
                        struct schedule_settings *s)
{
    static const char *const others[] = {"use_exponential_sigmas", "use_beta_sigmas",
                                         "use_lu_lambdas"};

    if (scheduler == SCHEDULER_AUTOMATIC) {
        for (size_t i = 0; i < sizeof others / sizeof *others; i++)
            if (json_get_bool_or(r, root, others[i], false))
                refuse(r, root, others[i],
                       "which this engine does not support: name a scheduler (karras or uniform)");
        if (json_get_bool_or(r, root, "use_karras_sigmas", false))
            s->karras = true;
    }
    s->sigma_min = real_within(r, root, "sigma_min", 1e-6, 1e6, 0);
    s->sigma_max = real_within(r, root, "sigma_max", 1e-6, 1e6, 0);
    if (r->rc == 0 && s->sigma_min > 0 && s->sigma_max > 0 && s->sigma_min >= s->sigma_max)
        refuse(r, root, "sigma_min", "not below sigma_max");
    s->last_sigma_min = choose(r, root, "final_sigmas_type", last_sigmas, "zero") == 1;
}

static void read_euler(struct json_reader *r, const json_t *root)
{
    choose(r, root, "interpolation_type", linear_only, "linear");
    choose(r, root, "timestep_type", discrete_only, "discrete");
}

static void read_dpm(struct json_reader *r, const json_t *root, struct schedule_settings *s)
{
    const json_t *variance = json_object_get(root, "variance_type");

    s->order = (int)json_get_int_or(r, root, "solver_order", 1, 3, 2);
    if (r->rc == 0 && s->order == 3)
        refuse(r, root, "solver_order", "which dpmpp_2m, of second order, does not support");
    s->heun = choose(r, root, "solver_type", solver_types, "midpoint") == 1;
    choose(r, root, "algorithm_type", algorithms, "dpmsolver++");
    s->lower_order_final = json_get_bool_or(r, root, "lower_order_final", true);
    s->euler_at_final = json_get_bool_or(r, root, "euler_at_final", false);
    s->lambda_min_clipped =
        real_within(r, root, "lambda_min_clipped", -1000, 1000, (double)-INFINITY);
    must_be_false(r, root, "thresholding");
    must_be_false(r, root, "use_flow_sigmas");
    if (variance && !json_is_null(variance))
        refuse(r, root, "variance_type", "which this engine does not support");
}

int schedule_settings_read(const struct schedule_config *c, enum sampler_id sampler,
                           enum scheduler_id scheduler, struct schedule_settings *ret_s,
                           struct err *e)
{
    struct json_reader r = {.where = c->where, .e = e};
    struct schedule_settings s = {.where = c->where, .trained_betas = c->trained_betas};
    bool ddim = sampler == SAMPLER_DDIM;

    s.karras = scheduler_resolve(sampler, scheduler) == SCHEDULER_KARRAS;
    if (ddim && s.karras)
        return err_set(e, ERR_INPUT,
                       "sampler ddim has no karras sigmas: use scheduler uniform or automatic");
    read_process(&r, c->root, &s);
    s.spacing = (enum spacing)choose(&r, c->root, "timestep_spacing", spacings,
                                     ddim ? "leading" : "linspace");
    if (ddim)
        read_ddim(&r, c->root, &s);
    if (sampler == SAMPLER_EULER || sampler == SAMPLER_DPMPP_2M)
        read_sigmas(&r, c->root, scheduler, &s);
    if (sampler == SAMPLER_EULER)
        read_euler(&r, c->root);
    if (sampler == SAMPLER_DPMPP_2M)
        read_dpm(&r, c->root, &s);
    if (sampler == SAMPLER_EULER_A && s.prediction == PREDICTION_SAMPLE)
        refuse(&r, c->root, "prediction_type", "which sampler euler_a does not support");
    if (r.rc == 0)
        *ret_s = s;
    return r.rc;
}
