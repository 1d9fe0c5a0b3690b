#include "engine/sampling/schedule_config.h"

#include "proto/json.h"

#include <math.h>

/* name, family, two calls, leading, sample, zero SNR, options */
static const struct sampler_class classes[SAMPLER_COUNT] = {
    [SAMPLER_DDIM] = {"DDIMScheduler", FAMILY_ALPHA, false, true, true, true, false},
    [SAMPLER_DDPM] = {"DDPMScheduler", FAMILY_ALPHA, false, true, true, true, false},
    [SAMPLER_PNDM] = {"PNDMScheduler", FAMILY_ALPHA, false, true, false, false, false},
    [SAMPLER_LMS] = {"LMSDiscreteScheduler", FAMILY_SIGMA, false, false, true, false, true},
    [SAMPLER_HEUN] = {"HeunDiscreteScheduler", FAMILY_SIGMA, true, false, true, false, true},
    [SAMPLER_EULER] = {"EulerDiscreteScheduler", FAMILY_SIGMA, false, false, true, true, true},
    [SAMPLER_EULER_A] = {"EulerAncestralDiscreteScheduler", FAMILY_SIGMA, false, false, false, true,
                         false},
    [SAMPLER_DPM2] = {"KDPM2DiscreteScheduler", FAMILY_SIGMA, true, false, false, false, true},
    [SAMPLER_DPM2_A] = {"KDPM2AncestralDiscreteScheduler", FAMILY_SIGMA, true, false, false, false,
                        true},
    [SAMPLER_DPMPP_2S_A] = {"sample_dpmpp_2s_ancestral", FAMILY_WEB, true, false, false, true,
                            false},
    [SAMPLER_DPMPP_2M] = {"DPMSolverMultistepScheduler", FAMILY_LAMBDA, false, false, true, true,
                          true},
    [SAMPLER_DPMPP_2M_SDE] = {"DPMSolverMultistepScheduler", FAMILY_LAMBDA, false, false, true,
                              true, true},
    [SAMPLER_DPMPP_3M_SDE] = {"sample_dpmpp_3m_sde", FAMILY_WEB, false, false, false, true, false},
    [SAMPLER_DPMPP_SDE] = {"sample_dpmpp_sde", FAMILY_WEB, true, false, false, true, false},
    [SAMPLER_UNIPC] = {"UniPCMultistepScheduler", FAMILY_LAMBDA, false, false, true, true, true},
    [SAMPLER_DEIS] = {"DEISMultistepScheduler", FAMILY_LAMBDA, false, false, true, false, true},
    [SAMPLER_LCM] = {"LCMScheduler", FAMILY_ALPHA, false, true, true, true, false},
    [SAMPLER_TCD] = {"TCDScheduler", FAMILY_ALPHA, false, true, true, true, false},
};

static const struct sampler_class *sampler_class_of(enum sampler_id sampler)
{
    return &classes[sampler];
}

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
/* Each class reads the others' names as its own default. */
static const struct choice dpm_solvers[] = {{"midpoint", 0}, {"heun", 1}, {"logrho", 0},
                                            {"bh1", 0},      {"bh2", 0},  {NULL, 0}};
static const struct choice unipc_solvers[] = {{"bh2", 0},  {"bh1", 1},    {"midpoint", 0},
                                              {"heun", 0}, {"logrho", 0}, {NULL, 0}};
static const struct choice deis_solvers[] = {{"logrho", 0}, {"midpoint", 0}, {"heun", 0},
                                             {"bh1", 0},    {"bh2", 0},      {NULL, 0}};
static const struct choice algorithms[] = {{"dpmsolver++", 0}, {"deis", 0}, {NULL, 0}};
static const struct choice deis_algorithms[] = {
    {"deis", 0}, {"dpmsolver++", 0}, {"dpmsolver", 0}, {NULL, 0}};
static const struct choice variances[] = {{"fixed_small", VARIANCE_SMALL},
                                          {"fixed_small_log", VARIANCE_SMALL_LOG},
                                          {"fixed_large", VARIANCE_LARGE},
                                          {NULL, 0}};
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

/*
 * What every class has, with the defaults of the sampler's; the rest of settings is left alone.
 */
static void read_process(struct json_reader *r, const json_t *root, enum sampler_id sampler,
                         struct schedule_settings *s)
{
    const char *class = json_get_string_or(r, root, "_class_name", "");
    bool distilled = sampler == SAMPLER_LCM || sampler == SAMPLER_TCD;
    bool late = distilled || sampler == SAMPLER_HEUN || sampler == SAMPLER_DPM2 ||
                sampler == SAMPLER_DPM2_A;

    if (strstr(class, "Flow") || strstr(class, "EDM") || strstr(class, "ConsistencyModels"))
        refuse(r, root, "_class_name", "whose noise process is not a chain of betas");
    s->n_train = (int)json_get_int_or(r, root, "num_train_timesteps", 2, SCHEDULE_TRAIN_MAX, 1000);
    s->beta_start = real_within(r, root, "beta_start", 1e-12, 0.999, late ? 0.00085 : 0.0001);
    s->beta_end = real_within(r, root, "beta_end", 1e-12, 0.999, late ? 0.012 : 0.02);
    s->beta_schedule = (enum beta_schedule)choose(r, root, "beta_schedule", beta_schedules,
                                                  distilled ? "scaled_linear" : "linear");
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
    read_process(&r, c->root, SAMPLER_EULER, &s);
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

/* A file that asks for what only the class's own code would do. */
static void refuse_rest(struct json_reader *r, const json_t *root, enum sampler_id sampler)
{
    const json_t *list = json_object_get(root, "disable_corrector");
    const json_t *solver = json_object_get(root, "solver_p");

    must_be_false(r, root, "thresholding");
    if (sampler != SAMPLER_UNIPC)
        return;
    if (!json_get_bool_or(r, root, "predict_x0", true))
        refuse(r, root, "predict_x0", "which this engine does not support");
    if (json_array_size(list) != 0)
        refuse(r, root, "disable_corrector", "which this engine does not support");
    if (solver && !json_is_null(solver))
        refuse(r, root, "solver_p", "which this engine does not support");
}

/* A file that was written for another class has none of the keys that only this one knows. */
static bool of_another_class(const json_t *root, const char *class_name)
{
    const char *name = json_string_value(json_object_get(root, "_class_name"));

    return name != NULL && strcmp(name, class_name) != 0;
}

/*
 * The classes of ddim and ddpm were made for pixels: by default they clip to -1..1 and end at alpha
 * 1. Where a latent model's file is of another class (SDXL's is Euler's), the keys mean what Stable
 * Diffusion's own files of these classes say.
 */
static void read_alpha(struct json_reader *r, const json_t *root, enum sampler_id sampler,
                       struct schedule_settings *s)
{
    bool distilled = sampler == SAMPLER_LCM || sampler == SAMPLER_TCD;
    bool pixels =
        !of_another_class(root, sampler == SAMPLER_DDPM ? "DDPMScheduler" : "DDIMScheduler");

    s->clip = json_get_bool_or(r, root, "clip_sample", pixels && !distilled);
    s->clip_range = real_within(r, root, "clip_sample_range", 1e-6, 1e6, 1.0);
    s->alpha_to_one = json_get_bool_or(r, root, "set_alpha_to_one", pixels || distilled);
    if (sampler == SAMPLER_DDPM)
        s->variance =
            (enum ddpm_variance)choose(r, root, "variance_type", variances, "fixed_small");
    if (distilled) {
        s->original_steps =
            (int)json_get_int_or(r, root, "original_inference_steps", 1, s->n_train, 50);
        s->timestep_scaling = real_within(r, root, "timestep_scaling", 1e-6, 1e6, 10.0);
    }
    if (sampler != SAMPLER_PNDM)
        refuse_rest(r, root, sampler);
}

/* PLMS: files of other classes lack skip_prk_steps, and the published ones of PNDM set it. */
static void read_pndm(struct json_reader *r, const json_t *root, struct schedule_settings *s)
{
    s->clip = false;
    s->alpha_to_one = json_get_bool_or(r, root, "set_alpha_to_one", false);
    if (!json_get_bool_or(r, root, "skip_prk_steps", true))
        refuse(r, root, "skip_prk_steps",
               "a Runge-Kutta start, which this engine does not support");
}

/* Which sigmas the file asks for, where the render leaves it open. */
static enum scheduler_id read_choice(struct json_reader *r, const json_t *root,
                                     enum scheduler_id otherwise)
{
    static const struct {
        const char *key;
        enum scheduler_id scheduler;
    } keys[] = {{"use_karras_sigmas", SCHEDULER_KARRAS},
                {"use_exponential_sigmas", SCHEDULER_EXPONENTIAL},
                {"use_beta_sigmas", SCHEDULER_BETA}};
    enum scheduler_id found = SCHEDULER_AUTOMATIC;

    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        if (!json_get_bool_or(r, root, keys[i].key, false))
            continue;
        if (found != SCHEDULER_AUTOMATIC)
            refuse(r, root, keys[i].key, "and another key names other sigmas");
        found = keys[i].scheduler;
    }
    if (json_get_bool_or(r, root, "use_lu_lambdas", false))
        refuse(r, root, "use_lu_lambdas",
               "which this engine does not support: name a scheduler (karras or uniform)");
    return found != SCHEDULER_AUTOMATIC ? found : otherwise;
}

static void read_sigmas(struct json_reader *r, const json_t *root, struct schedule_settings *s)
{
    s->sigma_min = real_within(r, root, "sigma_min", 1e-6, 1e6, 0);
    s->sigma_max = real_within(r, root, "sigma_max", 1e-6, 1e6, 0);
    if (r->rc == 0 && s->sigma_min > 0 && s->sigma_max > 0 && s->sigma_min >= s->sigma_max)
        refuse(r, root, "sigma_min", "not below sigma_max");
}

static void read_euler(struct json_reader *r, const json_t *root, struct schedule_settings *s)
{
    choose(r, root, "interpolation_type", linear_only, "linear");
    choose(r, root, "timestep_type", discrete_only, "discrete");
    s->last_sigma_min = choose(r, root, "final_sigmas_type", last_sigmas, "zero") == 1;
}

static void read_heun(struct json_reader *r, const json_t *root, struct schedule_settings *s)
{
    s->clip = json_get_bool_or(r, root, "clip_sample", false);
    s->clip_range = real_within(r, root, "clip_sample_range", 1e-6, 1e6, 1.0);
}

static void read_dpm(struct json_reader *r, const json_t *root, enum sampler_id sampler,
                     struct schedule_settings *s)
{
    const json_t *variance = json_object_get(root, "variance_type");

    if (r->rc == 0 && s->order == 3)
        refuse(r, root, "solver_order", "which a solver of second order does not support");
    s->heun = choose(r, root, "solver_type", dpm_solvers, "midpoint") == 1;
    if (sampler == SAMPLER_DPMPP_2M)
        choose(r, root, "algorithm_type", algorithms, "dpmsolver++");
    s->euler_at_final = json_get_bool_or(r, root, "euler_at_final", false);
    s->lambda_min_clipped =
        real_within(r, root, "lambda_min_clipped", -1000, 1000, (double)-INFINITY);
    if (variance && !json_is_null(variance))
        refuse(r, root, "variance_type", "which this engine does not support");
}

static void read_lambda(struct json_reader *r, const json_t *root, enum sampler_id sampler,
                        struct schedule_settings *s)
{
    s->order = (int)json_get_int_or(r, root, "solver_order", 1, 3, 2);
    s->lower_order_final = json_get_bool_or(r, root, "lower_order_final", true);
    if (sampler == SAMPLER_DEIS) {
        choose(r, root, "solver_type", deis_solvers, "logrho");
        choose(r, root, "algorithm_type", deis_algorithms, "deis");
        s->last_sigma_min = true;
    } else {
        s->last_sigma_min = choose(r, root, "final_sigmas_type", last_sigmas, "zero") == 1;
    }
    if (sampler == SAMPLER_UNIPC)
        s->bh1 = choose(r, root, "solver_type", unipc_solvers, "bh2") == 1;
    else if (sampler != SAMPLER_DEIS)
        read_dpm(r, root, sampler, s);
    must_be_false(r, root, "use_flow_sigmas");
    refuse_rest(r, root, sampler);
}

/* Whether the web UI alone has these sigmas. */
static bool is_web(enum scheduler_id scheduler)
{
    return scheduler == SCHEDULER_POLYEXPONENTIAL || scheduler == SCHEDULER_SGM_UNIFORM ||
           scheduler == SCHEDULER_SIMPLE || scheduler == SCHEDULER_NORMAL ||
           scheduler == SCHEDULER_KL_OPTIMAL || scheduler == SCHEDULER_ALIGN_YOUR_STEPS;
}

static void read_family(struct json_reader *r, const json_t *root, enum sampler_id sampler,
                        struct schedule_settings *s)
{
    if (s->class->family == FAMILY_ALPHA)
        read_alpha(r, root, sampler, s);
    if (s->class->family == FAMILY_LAMBDA)
        read_lambda(r, root, sampler, s);
    if (s->class->has_options)
        read_sigmas(r, root, s);
    if (sampler == SAMPLER_PNDM)
        read_pndm(r, root, s);
    if (sampler == SAMPLER_EULER)
        read_euler(r, root, s);
    if (sampler == SAMPLER_HEUN)
        read_heun(r, root, s);
}

int schedule_settings_read(const struct schedule_config *c, const struct schedule_options *o,
                           struct schedule_settings *ret_s, struct err *e)
{
    struct json_reader r = {.where = c->where, .e = e};
    struct schedule_settings s = {.where = c->where,
                                  .class = sampler_class_of(o->sampler),
                                  .scheduler = scheduler_resolve(o->sampler, o->scheduler),
                                  .trained_betas = c->trained_betas,
                                  .lambda_min_clipped = (double)-INFINITY};

    read_process(&r, c->root, o->sampler, &s);
    s.zero_snr = (s.zero_snr && s.class->has_zero) || o->zero_snr;
    s.spacing = (enum spacing)choose(&r, c->root, "timestep_spacing", spacings,
                                     s.class->leading ? "leading" : "linspace");
    if (o->scheduler == SCHEDULER_AUTOMATIC && s.class->has_options)
        s.scheduler = read_choice(&r, c->root, s.scheduler);
    s.web = s.class->family == FAMILY_WEB || is_web(s.scheduler);
    if (s.class->family == FAMILY_ALPHA && s.scheduler != SCHEDULER_UNIFORM)
        return err_set(e, ERR_INPUT,
                       "sampler %s has no %s sigmas: use scheduler uniform or automatic",
                       sampler_name(o->sampler), scheduler_name(s.scheduler));
    read_family(&r, c->root, o->sampler, &s);
    if (s.prediction == PREDICTION_SAMPLE && !s.class->has_sample) {
        char why[96];
        snprintf(why, sizeof why, "which %s does not support", s.class->name);
        refuse(&r, c->root, "prediction_type", why);
    }
    if (r.rc == 0)
        *ret_s = s;
    return r.rc;
}
