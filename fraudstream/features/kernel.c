/*
 * The kernel of the features, compiled: the same values as the arrays of kernel.py give, bit for bit, one row after the other.
 *
 * Plain C without Python's headers: compiled.py hands over arrays, hatch_build.py compiles it where there is a compiler. Whoever
 * changes what a feature means changes both; tests/unit/features/test_compiled.py holds them against each other. Not compiled with
 * fused multiplication: every operation rounds as numpy's does.
 */

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#ifndef SOURCE
#define SOURCE "unknown"
#endif

/* The digest of this file, as it was compiled. */
const char fs_source[] = SOURCE;

/* A record: hash, event time, amount, words, flags; see layout.py. */
enum { TIME_AT = 3, AMOUNT_AT = 7, IDENTITY = 12, WORDS_AT = 12, OUTCOME_MASK = 3, FRAUD_FLAG = 4, LEGITIMATE_FLAG = 8 };

/* What compiled.py numbers in the same order. */
enum function {
    COUNT, SUM, AVG, MIN, MAX, STDDEV, MEDIAN, DISTINCT, IS_NEW, FIRST_SEEN, TIME_SINCE_LAST, RATIO_TO_BASELINE, RANK, SPEED,
    FRAUD_COUNT, FRAUD_RATE, LAST_LABEL, TIME_SINCE_FRAUD, CLEAN_SINCE_FRAUD, RUN_LENGTH
};
enum operation {
    CONSTANT, OF_PAST, OF_ROW, OF_FEATURE, NOT, NEGATE, AND, OR, EQUAL, UNEQUAL, LESS, LESS_EQUAL, GREATER, GREATER_EQUAL, ADD,
    SUBTRACT, MULTIPLY, DIVIDE, ABSOLUTE, COALESCE, SMALLER, LARGER, HOUR, MINUTE, WEEKDAY, IS_MISSING
};
/* Numbers of a past event; behind them its words. */
enum past { PAST_AMOUNT, PAST_OUTCOME, PAST_LABEL, PAST_WORDS };
enum { DEEPEST = 64 };

/* Expressions as steps: operation and operand, in the order of a stack; `constants` are what CONSTANT points into. */
struct program {
    const int64_t *steps;
    int64_t length;
    const double *constants;
};

/* Fields of the batch's own transactions and the features found so far: [columns][rows] each. Unknown is NaN. */
struct given {
    int64_t rows;
    const double *columns;
    float *matrix;
};

/* One condition: events under a program (of no steps: all), and alike in these words. */
struct condition {
    struct program program;
    const int64_t *same;
    int64_t sames;
};

/* A window: under which condition, where it begins and ends among the edges, with itself or not, how many at most (< 0: all). */
struct window {
    int64_t condition, low, high, current, newest;
};

/* One column: what it asks of which window, about which word; its place in the matrix, or among the speeds. */
struct column {
    int64_t function, window, word, place;
};

struct log_plan {
    int64_t record_bytes;
    const int64_t *edges; /* seconds before the transaction, falling */
    int64_t edge_count;
    const struct condition *conditions;
    int64_t condition_count;
    const struct window *windows;
    int64_t window_count;
    const struct column *columns;
    int64_t column_count;
};

struct log_batch {
    struct given given;
    const char *logs; /* of all rows, one behind the other */
    const int64_t *lengths;
    const char *own; /* one record per row */
    const uint8_t *late;
    const uint8_t *present;
    const int64_t *occurred_s;
    const double *amounts;
    const uint32_t *const *words; /* by place in the record: of each row */
    uint32_t *cells; /* [speeds][rows]: where the newest known place is, 0 where there is none */
    double *ages;    /* [speeds][rows]: how many seconds before */
};

struct ring_column {
    int64_t function, resolution, over, delay, current, place;
};

struct ring_plan {
    int64_t resolutions;
    const int64_t *widths_ms;
    const int64_t *first_slots;
    const int64_t *slot_counts;
    const struct ring_column *columns;
    int64_t column_count;
};

struct ring_batch {
    struct given given;
    const char *rings;        /* of all entities, one behind the other */
    const int64_t *begins;    /* entities + 1 */
    const int64_t *entities;  /* of each row, -1 without */
    int64_t entity_count;
    const uint8_t *touched;
    const uint8_t *again;
    const int64_t *ranks;
    const int64_t *occurred_s;
    const double *amounts;
};

/* Values ---------------------------------------------------------------------------------------------------------------------*/

static double truth(double value) { return isnan(value) ? value : value != 0.0; }

static double finite_or_unknown(double value) { return isfinite(value) ? value : NAN; }

static double compared(int64_t operation, double left, double right)
{
    if (isnan(left) || isnan(right)) return NAN;
    switch (operation) {
    case EQUAL: return left == right;
    case UNEQUAL: return left != right;
    case LESS: return left < right;
    case LESS_EQUAL: return left <= right;
    case GREATER: return left > right;
    default: return left >= right;
    }
}

static double both(double left, double right)
{
    left = truth(left), right = truth(right);
    if (left == 0.0 || right == 0.0) return 0.0;
    return isnan(left) || isnan(right) ? NAN : 1.0;
}

static double either(double left, double right)
{
    left = truth(left), right = truth(right);
    if (left == 1.0 || right == 1.0) return 1.0;
    return isnan(left) || isnan(right) ? NAN : 0.0;
}

static double opposite(double value) { return isnan(value) ? value : value == 0.0; }

static double combined(int64_t operation, double left, double right)
{
    switch (operation) {
    case AND: return both(left, right);
    case OR: return either(left, right);
    case ADD: return finite_or_unknown(left + right);
    case SUBTRACT: return finite_or_unknown(left - right);
    case MULTIPLY: return finite_or_unknown(left * right);
    case DIVIDE: return finite_or_unknown(left / right);
    case COALESCE: return isnan(left) ? right : left;
    case SMALLER: return isnan(left) || isnan(right) ? NAN : left < right ? left : right;
    case LARGER: return isnan(left) || isnan(right) ? NAN : left > right ? left : right;
    default: return compared(operation, left, right);
    }
}

static double changed(int64_t operation, double value)
{
    int64_t seconds = operation >= HOUR && operation <= WEEKDAY ? (int64_t)value : 0;
    switch (operation) {
    case NOT: return opposite(truth(value));
    case NEGATE: return -value;
    case ABSOLUTE: return fabs(value);
    case HOUR: return (double)(seconds % 86400 / 3600);
    case MINUTE: return (double)(seconds % 3600 / 60);
    case WEEKDAY: return (double)((seconds / 86400 + 3) % 7); /* 1970-01-01 was a Thursday, and Monday is 0 */
    default: return isnan(value);
    }
}

static double word_value(uint32_t word) { return word ? (double)word : NAN; }

static uint32_t word_at(const char *record, int64_t word)
{
    uint32_t found;
    memcpy(&found, record + WORDS_AT + 4 * word, sizeof found);
    return found;
}

static int64_t amount_of(const char *record)
{
    uint64_t wide;
    memcpy(&wide, record + AMOUNT_AT + 5 - 8, sizeof wide);
    return (int64_t)(wide >> 24);
}

static uint32_t time_of(const char *record)
{
    uint32_t found;
    memcpy(&found, record + TIME_AT, sizeof found);
    return found;
}

static double of_past(const char *record, int64_t record_bytes, int64_t what)
{
    uint8_t flags = (uint8_t)record[record_bytes - 1];
    switch (what) {
    case PAST_AMOUNT: return (double)amount_of(record);
    case PAST_OUTCOME: return (double)((flags & OUTCOME_MASK) + 1);
    case PAST_LABEL: return flags & FRAUD_FLAG ? 1.0 : flags & LEGITIMATE_FLAG ? 2.0 : NAN;
    default: return word_value(word_at(record, what - PAST_WORDS));
    }
}

/* Return the value of an expression for a row, over one of its past events where there is one. */
static double value_of(const struct program *program, const struct given *given, int64_t row, const char *record, int64_t record_bytes)
{
    double stack[DEEPEST];
    int64_t top = -1;
    for (int64_t step = 0; step < program->length; step++) {
        int64_t operation = program->steps[2 * step], operand = program->steps[2 * step + 1];
        switch (operation) {
        case CONSTANT: stack[++top] = program->constants[operand]; break;
        case OF_PAST: stack[++top] = of_past(record, record_bytes, operand); break;
        case OF_ROW: stack[++top] = given->columns[operand * given->rows + row]; break;
        case OF_FEATURE: stack[++top] = (double)given->matrix[operand * given->rows + row]; break;
        case NOT: case NEGATE: case ABSOLUTE: case HOUR: case MINUTE: case WEEKDAY: case IS_MISSING:
            stack[top] = changed(operation, stack[top]);
            break;
        default:
            top--;
            stack[top] = combined(operation, stack[top], stack[top + 1]);
        }
    }
    return stack[0];
}

/* Fill columns that are expressions over the row itself, in the order in which they need each other. */
void fs_expressions(const struct given *given, const struct program *programs, const int64_t *places, int64_t count)
{
    for (int64_t row = 0; row < given->rows; row++)
        for (int64_t i = 0; i < count; i++) {
            double value = value_of(&programs[i], given, row, NULL, 0);
            if (isfinite(value)) given->matrix[places[i] * given->rows + row] = (float)value;
        }
}

/* Logs -----------------------------------------------------------------------------------------------------------------------*/

/* The past of one row in the order of time, and room for what is worked out on it. */
struct past_of_row {
    int64_t count, own;
    const char **records;
    int64_t *times;
    int64_t *amounts;
    int64_t *arrival; /* place of each in the order of arrival */
    int64_t *bounds;  /* where the edges lie */
    int64_t *room;    /* as long as the past */
    int64_t **chosen; /* by condition: the places of its events, NULL where that is all of them or nobody has asked */
    int64_t *chosen_counts; /* -1: nobody has asked */
    int64_t *order, *merged;
};

/* Events of one window: from `low` to before `high` among the chosen of its condition. */
struct run {
    const int64_t *chosen;
    int64_t chosen_count, low, high;
};

static int64_t event_at(const struct run *run, int64_t place) { return run->chosen ? run->chosen[place] : place; }

/* Return where the newest record of a transaction stands in a log, -1 when it is not there. */
static int64_t place_in(const char *log, int64_t length, const char *identity, int64_t record_bytes)
{
    for (int64_t at = (length - IDENTITY) / record_bytes * record_bytes; length >= IDENTITY && at >= 0; at -= record_bytes)
        if (memcmp(log + at, identity, IDENTITY) == 0) return at;
    return -1;
}

/* Return the first place whose number is larger. */
static int64_t behind(const int64_t *numbers, int64_t count, int64_t number)
{
    int64_t low = 0, high = count;
    while (low < high) {
        int64_t middle = (low + high) / 2;
        if (numbers[middle] <= number) low = middle + 1; else high = middle;
    }
    return low;
}

/* Return the first place whose number is not smaller. */
static int64_t not_before(const int64_t *numbers, int64_t count, int64_t number) { return behind(numbers, count, number - 1); }

/* Sort places by time, those of one time as they stand: merging runs of growing length. */
static void sort_by_time(struct past_of_row *past)
{
    int64_t count = past->count, *from = past->order, *to = past->merged;
    for (int64_t i = 0; i < count; i++) from[i] = i;
    for (int64_t width = 1; width < count; width *= 2) {
        for (int64_t begin = 0; begin < count; begin += 2 * width) {
            int64_t middle = begin + width < count ? begin + width : count;
            int64_t end = begin + 2 * width < count ? begin + 2 * width : count;
            for (int64_t i = begin, j = middle, at = begin; at < end; at++)
                to[at] = i < middle && (j >= end || past->times[from[i]] <= past->times[from[j]]) ? from[i++] : from[j++];
        }
        int64_t *other = from;
        from = to, to = other;
    }
    past->order = from, past->merged = to;
}

/* Bring a past that is out of order into the order of time. */
static void put_in_order(struct past_of_row *past)
{
    int64_t count = past->count, own = past->own;
    sort_by_time(past);
    const char **records = (const char **)past->merged; /* a pointer is as long as a place */
    memcpy(records, past->records, (size_t)count * sizeof *records);
    for (int64_t i = 0; i < count; i++) {
        past->records[i] = records[past->order[i]];
        past->arrival[i] = past->order[i];
        if (past->order[i] == own) past->own = i;
    }
    for (int64_t i = 0; i < count; i++) {
        past->times[i] = time_of(past->records[i]);
        past->amounts[i] = amount_of(past->records[i]);
    }
}

/* Lay out what stood before a transaction and, behind it, its own record as it was written. */
static void lay_out(struct past_of_row *past, const struct log_plan *plan, const char *log, int64_t length, const char *own, int late)
{
    int64_t size = plan->record_bytes, before, in_order = 1;
    if (length >= size && memcmp(log + length - size, own, (size_t)size) == 0) {
        before = length / size - 1;
        own = log + before * size;
    } else if (late) {
        before = length / size;
    } else {
        int64_t place = place_in(log, length, own, size);
        before = place < 0 ? 0 : place / size;
    }
    past->count = before + 1, past->own = before;
    for (int64_t i = 0; i <= before; i++) {
        const char *record = i == before ? own : log + i * size;
        past->records[i] = record;
        past->times[i] = time_of(record);
        past->amounts[i] = amount_of(record);
        past->arrival[i] = i;
        in_order &= i == 0 || past->times[i - 1] <= past->times[i];
    }
    if (!in_order) put_in_order(past);
}

static int meets(const struct condition *condition, const struct log_plan *plan, const struct log_batch *batch, int64_t row, const char *record)
{
    if (condition->program.length && value_of(&condition->program, &batch->given, row, record, plan->record_bytes) != 1.0) return 0;
    for (int64_t i = 0; i < condition->sames; i++) {
        uint32_t word = word_at(record, condition->same[i]);
        if (!word || word != batch->words[condition->same[i]][row]) return 0;
    }
    return 1;
}

/* Find the events under a condition, once per row. */
static void choose(struct past_of_row *past, const struct log_plan *plan, const struct log_batch *batch, int64_t row, int64_t which)
{
    const struct condition *condition = &plan->conditions[which];
    if (past->chosen_counts[which] >= 0) return;
    past->chosen_counts[which] = past->count;
    if (!past->chosen[which]) return; /* all of them */
    int64_t count = 0;
    for (int64_t i = 0; i < past->count; i++)
        if (meets(condition, plan, batch, row, past->records[i])) past->chosen[which][count++] = i;
    past->chosen_counts[which] = count;
}

static struct run run_of(struct past_of_row *past, const struct log_plan *plan, const struct log_batch *batch, int64_t row, const struct window *window)
{
    int64_t low = past->bounds[window->low], high = past->bounds[window->high];
    /* Of its own second the transaction came last: what stands before it is its past, what stands behind it is later. */
    if (!(window->current && batch->present[row]) && high > past->own) high = past->own;
    choose(past, plan, batch, row, window->condition);
    struct run run = {past->chosen[window->condition], past->chosen_counts[window->condition], low, high};
    if (run.chosen) {
        run.low = not_before(run.chosen, run.chosen_count, low);
        run.high = not_before(run.chosen, run.chosen_count, high);
    }
    if (run.high < run.low) run.high = run.low;
    if (window->newest >= 0 && run.low < run.high - window->newest) run.low = run.high - window->newest;
    return run;
}

static int is_fraud(const struct past_of_row *past, const struct log_plan *plan, int64_t event)
{
    return (past->records[event][plan->record_bytes - 1] & FRAUD_FLAG) != 0;
}

/* Return the newest place of a run where fraud is reported or, with 0, where it is not; -1 where there is none. */
static int64_t newest_with(const struct past_of_row *past, const struct log_plan *plan, const struct run *run, int fraud)
{
    for (int64_t place = run->high - 1; place >= run->low; place--)
        if (is_fraud(past, plan, event_at(run, place)) == fraud) return place;
    return -1;
}

static int64_t sum_of(const struct past_of_row *past, const struct run *run)
{
    int64_t sum = 0;
    for (int64_t place = run->low; place < run->high; place++) sum += past->amounts[event_at(run, place)];
    return sum;
}

/* Return the number that would stand at a place if numbers were sorted; larger ones stand behind it afterwards (Hoare 1961). */
static int64_t selected(int64_t *numbers, int64_t count, int64_t place)
{
    int64_t low = 0, high = count - 1;
    while (low < high) {
        int64_t pivot = numbers[low + (high - low) / 2], i = low, j = high;
        while (i <= j) {
            while (numbers[i] < pivot) i++;
            while (numbers[j] > pivot) j--;
            if (i <= j) {
                int64_t number = numbers[i];
                numbers[i++] = numbers[j], numbers[j--] = number;
            }
        }
        if (place <= j) high = j; else if (place >= i) low = i; else break;
    }
    return numbers[place];
}

static double median_of(struct past_of_row *past, const struct run *run)
{
    int64_t count = run->high - run->low, *numbers = past->room;
    for (int64_t i = 0; i < count; i++) numbers[i] = past->amounts[event_at(run, run->low + i)];
    int64_t upper = selected(numbers, count, count / 2), lower = upper;
    if (count % 2 == 0) {
        lower = numbers[0];
        for (int64_t i = 1; i < count / 2; i++) if (numbers[i] > lower) lower = numbers[i];
    }
    return ((double)lower + (double)upper) / 2.0;
}

/* Standard deviation of the population: of whole numbers where those are small enough, else in two passes in the order of arrival. */
static double spread_of(struct past_of_row *past, const struct run *run)
{
    int64_t count = run->high - run->low, total = sum_of(past, run), squares = 0;
    if ((double)count * ((double)total * (double)total) < 4611686018427387904.0) {
        for (int64_t place = run->low; place < run->high; place++) {
            int64_t amount = past->amounts[event_at(run, place)];
            squares += amount * amount;
        }
        return sqrt((double)(count * squares - total * total)) / (double)count;
    }
    double mean = (double)total / (double)count, left = 0.0;
    int64_t *by_arrival = past->room;
    for (int64_t i = 0; i < past->count; i++) by_arrival[i] = -1;
    for (int64_t place = run->low; place < run->high; place++) by_arrival[past->arrival[event_at(run, place)]] = event_at(run, place);
    for (int64_t i = 0; i < past->count; i++)
        if (by_arrival[i] >= 0) {
            double off = (double)past->amounts[by_arrival[i]] - mean;
            left += off * off;
        }
    return sqrt(left / (double)count);
}

static int ascending(const void *one, const void *other)
{
    int64_t left = *(const int64_t *)one, right = *(const int64_t *)other;
    return (left > right) - (left < right);
}

static double distinct_in(struct past_of_row *past, const struct run *run, int64_t word)
{
    int64_t count = 0, different = 0, *words = past->room;
    for (int64_t place = run->low; place < run->high; place++) {
        uint32_t one = word_at(past->records[event_at(run, place)], word);
        if (one) words[count++] = one;
    }
    qsort(words, (size_t)count, sizeof *words, ascending);
    for (int64_t i = 0; i < count; i++) different += i == 0 || words[i] != words[i - 1];
    return (double)different;
}

/* Return the value of a log's column, NaN where it has nothing to say. */
static double answer(struct past_of_row *past, const struct log_plan *plan, const struct log_batch *batch, int64_t row, const struct column *column)
{
    struct run run = run_of(past, plan, batch, row, &plan->windows[column->window]);
    int64_t count = run.high - run.low, rows = batch->given.rows, found;
    double own = batch->amounts[row], part;
    if (!count) return NAN;
    switch (column->function) {
    case COUNT: return (double)count;
    case SUM: return (double)sum_of(past, &run);
    case AVG: return (double)sum_of(past, &run) / (double)count;
    case MIN: case MAX:
        found = past->amounts[event_at(&run, run.low)];
        for (int64_t place = run.low + 1; place < run.high; place++) {
            int64_t amount = past->amounts[event_at(&run, place)];
            if (column->function == MIN ? amount < found : amount > found) found = amount;
        }
        return (double)found;
    case STDDEV: return spread_of(past, &run);
    case MEDIAN: return median_of(past, &run);
    case RATIO_TO_BASELINE: part = median_of(past, &run); return part > 0 ? own / part : NAN;
    case RANK:
        found = 0;
        for (int64_t place = run.low; place < run.high; place++) found += (double)past->amounts[event_at(&run, place)] < own;
        return (double)found / (double)count;
    case DISTINCT: return distinct_in(past, &run, column->word);
    case IS_NEW: {
        uint32_t word = batch->words[column->word][row];
        if (!word) return NAN;
        for (int64_t place = run.high - 1; place >= run.low; place--)
            if (word_at(past->records[event_at(&run, place)], column->word) == word) return 0.0;
        return 1.0;
    }
    case FIRST_SEEN: return (double)(batch->occurred_s[row] - past->times[event_at(&run, run.low)]);
    case TIME_SINCE_LAST: return (double)(batch->occurred_s[row] - past->times[event_at(&run, run.high - 1)]);
    case SPEED:
        if (!batch->words[column->word][row]) return NAN;
        for (int64_t place = run.high - 1; place >= run.low; place--) {
            int64_t event = event_at(&run, place);
            uint32_t cell = word_at(past->records[event], column->word);
            if (!cell) continue;
            batch->cells[column->place * rows + row] = cell;
            batch->ages[column->place * rows + row] = (double)(batch->occurred_s[row] - past->times[event]);
            break;
        }
        return NAN; /* compiled.py works the distance out with numpy: other libraries' sines differ in their last bits */
    case FRAUD_COUNT: case FRAUD_RATE:
        found = 0;
        for (int64_t place = run.low; place < run.high; place++) found += is_fraud(past, plan, event_at(&run, place));
        return column->function == FRAUD_COUNT ? (double)found : (double)found / (double)count;
    case LAST_LABEL: return (double)is_fraud(past, plan, event_at(&run, run.high - 1));
    case TIME_SINCE_FRAUD:
        found = newest_with(past, plan, &run, 1);
        return found < 0 ? NAN : (double)(batch->occurred_s[row] - past->times[event_at(&run, found)]);
    case CLEAN_SINCE_FRAUD:
        found = newest_with(past, plan, &run, 1);
        return found < 0 ? NAN : (double)(run.high - 1 - found);
    default: /* RUN_LENGTH */
        found = newest_with(past, plan, &run, !is_fraud(past, plan, event_at(&run, run.high - 1)));
        return (double)(run.high - 1 - (found < 0 ? run.low - 1 : found));
    }
}

static void fill_row(struct past_of_row *past, const struct log_plan *plan, const struct log_batch *batch, int64_t row)
{
    for (int64_t i = 0; i < plan->edge_count; i++) {
        int64_t since = batch->occurred_s[row] - plan->edges[i];
        past->bounds[i] = behind(past->times, past->count, since < -1 ? -1 : since);
    }
    past->bounds[plan->edge_count] = 0;
    for (int64_t i = 0; i < plan->condition_count; i++) past->chosen_counts[i] = -1;
    for (int64_t i = 0; i < plan->column_count; i++) {
        double value = answer(past, plan, batch, row, &plan->columns[i]);
        if (!isnan(value)) batch->given.matrix[plan->columns[i].place * batch->given.rows + row] = (float)value;
    }
}

/* Fill the columns of one kind of log; return 0, or -1 where there is no memory for it. */
int fs_logs(const struct log_plan *plan, const struct log_batch *batch)
{
    int64_t longest = 0, rows = batch->given.rows, taken = 6 + plan->condition_count;
    for (int64_t row = 0; row < rows; row++)
        if (batch->lengths[row] > longest) longest = batch->lengths[row];
    longest = longest / plan->record_bytes + 2;
    int64_t *room = malloc((size_t)(longest * (taken + 1) + plan->edge_count + 1 + plan->condition_count) * sizeof *room);
    int64_t **chosen = calloc((size_t)plan->condition_count + 1, sizeof *chosen);
    if (!room || !chosen) {
        free(room), free(chosen);
        return -1;
    }
    struct past_of_row past = {
        .records = (const char **)room, .times = room + longest, .amounts = room + 2 * longest, .arrival = room + 3 * longest,
        .room = room + 4 * longest, .order = room + 5 * longest, .merged = room + 6 * longest, .chosen = chosen,
        .bounds = room + (taken + 1) * longest, .chosen_counts = room + (taken + 1) * longest + plan->edge_count + 1,
    };
    for (int64_t i = 0; i < plan->condition_count; i++)
        if (plan->conditions[i].program.length || plan->conditions[i].sames) chosen[i] = room + (7 + i) * longest;
    const char *log = batch->logs;
    for (int64_t row = 0; row < rows; row++) {
        lay_out(&past, plan, log, batch->lengths[row], batch->own + row * plan->record_bytes, batch->late[row]);
        fill_row(&past, plan, batch, row);
        log += batch->lengths[row];
    }
    free(room), free(chosen);
    return 0;
}

/* Rings ----------------------------------------------------------------------------------------------------------------------*/

struct slot {
    uint32_t bucket, count, frauds;
    double sum;
};

enum { SLOT_BYTES = 20 };

/* Return a slot of a ring; what was never written is empty. */
static struct slot slot_at(const struct ring_batch *batch, int64_t entity, int64_t slot)
{
    struct slot found = {0, 0, 0, 0.0};
    int64_t at = batch->begins[entity] + slot * SLOT_BYTES;
    if (at + SLOT_BYTES > batch->begins[entity + 1]) return found;
    memcpy(&found.bucket, batch->rings + at, 4);
    memcpy(&found.count, batch->rings + at + 4, 4);
    memcpy(&found.frauds, batch->rings + at + 8, 4);
    memcpy(&found.sum, batch->rings + at + 12, 8);
    return found;
}

static int64_t bucket_of(const struct ring_plan *plan, const struct ring_batch *batch, int64_t row, int64_t resolution)
{
    return batch->occurred_s[row] * 1000 / plan->widths_ms[resolution];
}

static struct slot slot_of(const struct ring_plan *plan, const struct ring_batch *batch, int64_t entity, int64_t resolution, int64_t bucket)
{
    return slot_at(batch, entity, plan->first_slots[resolution] + bucket % plan->slot_counts[resolution]);
}

struct held {
    int64_t count, sum, frauds;
};

/* What the entity's buckets from behind one number to another hold. */
static struct held between(const struct ring_plan *plan, const struct ring_batch *batch, int64_t entity, int64_t resolution, int64_t after, int64_t last)
{
    struct held held = {0, 0, 0};
    for (int64_t bucket = after < -1 ? 0 : after + 1; bucket <= last; bucket++) {
        struct slot slot = slot_of(plan, batch, entity, resolution, bucket);
        if (slot.bucket != bucket) continue;
        held.count += slot.count, held.sum += (int64_t)slot.sum, held.frauds += slot.frauds;
    }
    return held;
}

/* Take off what this very call added at or after a row, and the row itself if an earlier call has touched it. */
static void take_off(struct held *held, const struct ring_plan *plan, const struct ring_batch *batch, const int64_t *next, int64_t row, const struct ring_column *column, int64_t other)
{
    int64_t resolution = column->resolution, own = bucket_of(plan, batch, row, resolution);
    int again = batch->again[row];
    while (other >= 0 || again) {
        int64_t taken = again ? row : other;
        int64_t bucket = bucket_of(plan, batch, taken, resolution), age = own - bucket;
        int inside = age >= 0 && age >= column->delay && age < column->delay + column->over;
        if (inside && slot_of(plan, batch, batch->entities[taken], resolution, bucket).bucket == bucket) {
            held->count -= 1;
            held->sum -= (int64_t)batch->amounts[taken];
        }
        if (again) again = 0; else other = next[other];
    }
}

static void fill_ring_column(const struct ring_plan *plan, const struct ring_batch *batch, const int64_t *next, int64_t row, const struct ring_column *column, int64_t first_taken)
{
    int64_t entity = batch->entities[row], last;
    struct held held = {0, 0, 0};
    double value;
    if (entity < 0) return;
    last = bucket_of(plan, batch, row, column->resolution) - column->delay;
    held = between(plan, batch, entity, column->resolution, last - column->over, last);
    take_off(&held, plan, batch, next, row, column, first_taken);
    if (column->current) held.count += 1, held.sum += (int64_t)batch->amounts[row];
    if (held.count <= 0) return;
    switch (column->function) {
    case COUNT: value = (double)held.count; break;
    case SUM: value = (double)held.sum; break;
    case AVG: value = (double)held.sum / (double)held.count; break;
    case FRAUD_COUNT: value = (double)held.frauds; break;
    default: value = (double)held.frauds / (double)held.count;
    }
    batch->given.matrix[column->place * batch->given.rows + row] = (float)value;
}

/* Fill the columns of one kind of ring; return 0, or -1 where there is no memory for it. */
int fs_rings(const struct ring_plan *plan, const struct ring_batch *batch)
{
    int64_t rows = batch->given.rows;
    int64_t *next = malloc((size_t)(rows + batch->entity_count + 1) * sizeof *next), *newest;
    if (!next) return -1;
    newest = next + rows;
    for (int64_t i = 0; i < batch->entity_count; i++) newest[i] = -1;
    /* For each row the next one of its entity that this call touched; `newest` ends as the first of each. */
    for (int64_t row = rows - 1; row >= 0; row--) {
        int64_t entity = batch->entities[row];
        next[row] = entity < 0 ? -1 : newest[entity];
        if (entity >= 0 && batch->touched[row]) newest[entity] = row;
    }
    for (int64_t row = 0; row < rows; row++) {
        int64_t entity = batch->entities[row], taken = -1;
        if (entity >= 0)
            for (taken = newest[entity]; taken >= 0 && taken < batch->ranks[row]; taken = next[taken]) {}
        for (int64_t i = 0; i < plan->column_count; i++) fill_ring_column(plan, batch, next, row, &plan->columns[i], taken);
    }
    free(next);
    return 0;
}
