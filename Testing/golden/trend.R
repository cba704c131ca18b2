# Writes trend.json: attention's trend over the stages of cohort.csv, and its distance from chance.
#
#     cd Testing/golden && Rscript trend.R
#
# J is the sum of stats::wilcox.test's W over the pairs of stages; its variance with ties is that of Hollander, Wolfe &
# Chicken (2014, Nonparametric Statistical Methods, 3rd ed., 6.19); cor.test's tau has the same p-value by another
# road. One value a patient, the mean of its rows.

rows <- read.csv("cohort.csv", stringsAsFactors = FALSE)
one <- aggregate(cbind(dice, chance_dice) ~ patient_id + stage, rows, mean)
one$above <- aggregate(I(dice - chance_dice) ~ patient_id + stage, rows, mean)[[3]]
one$level <- as.integer(sub("T", "", one$stage))
for (name in c("dice", "chance_dice", "above")) one[[name]] <- round(one[[name]], 12)

jonckheere <- function(x, level) {
  levels <- sort(unique(level))
  J <- 0
  for (i in seq_along(levels)) for (j in seq_along(levels)) if (i < j) {
    J <- J + suppressWarnings(wilcox.test(x[level == levels[j]], x[level == levels[i]])$statistic)
  }
  as.numeric(J)
}
normal <- function(x, level) {
  N <- length(x)
  n <- as.numeric(table(level))
  t <- as.numeric(table(x))
  J <- jonckheere(x, level)
  variance <- (N * (N - 1) * (2 * N + 5) - sum(n * (n - 1) * (2 * n + 5)) - sum(t * (t - 1) * (2 * t + 5))) / 72 +
    sum(n * (n - 1) * (n - 2)) * sum(t * (t - 1) * (t - 2)) / (36 * N * (N - 1) * (N - 2)) +
    sum(n * (n - 1)) * sum(t * (t - 1)) / (8 * N * (N - 1))
  z <- (J - (N^2 - sum(n^2)) / 4) / sqrt(variance)
  list(J = J, pairs = (N^2 - sum(n^2)) / 2, z = z, p = 2 * pnorm(-abs(z)),
       p_kendall = cor.test(level, x, method = "kendall", exact = FALSE)$p.value)
}

# Random permutations of the stages; J from ranks within each pair of stages is slow, Kendall's S gives the same order.
permuted <- function(x, level, times) {
  S <- sign(outer(x, x, "-"))
  s_of <- function(level) sum(S * sign(outer(level, level, "-"))) / 2
  observed <- s_of(level)
  drawn <- replicate(times, s_of(sample(level)))
  (sum(abs(drawn) >= abs(observed)) + 1) / (times + 1)
}

# A set so small that all permutations can be written down; twice the smaller tail, as scipy has it.
small <- list(x = c(0.1, 0.3, 0.2, 0.3, 0.5, 0.4, 0.6), level = c(1, 1, 2, 2, 3, 3, 4))
all_orders <- function(v) {
  if (length(v) == 1) return(matrix(v))
  do.call(rbind, lapply(seq_along(v), function(i) cbind(v[i], all_orders(v[-i]))))
}
every <- apply(all_orders(seq_along(small$x)), 1, function(o) jonckheere(small$x, small$level[o]))
observed <- jonckheere(small$x, small$level)
small$J <- observed
small$p <- min(1, 2 * min(mean(every >= observed), mean(every <= observed)))

signed_rank <- function(d, exact) wilcox.test(d, exact = exact, correct = FALSE)$p.value
set.seed(20251220)
found <- list(
  dice = normal(one$dice, one$level),
  chance_dice = c(normal(one$chance_dice, one$level), list(p_permuted = permuted(one$chance_dice, one$level, 20000))),
  small = small,
  median = lapply(split(rows$dice, rows$stage), function(x) as.numeric(quantile(x, c(0.25, 0.5, 0.75)))),
  mean = lapply(split(rows$dice, rows$stage), mean),
  above = list(all = signed_rank(one$above, FALSE), T1 = signed_rank(one$above[one$stage == "T1"], TRUE),
               T4 = signed_rank(one$above[one$stage == "T4"], FALSE)),
  # A difference of nothing but chance, so that the p-value has digits to compare.
  centred = list(all = signed_rank(round(one$above - 0.28, 12), FALSE),
                 T1 = signed_rank(round(one$above[one$stage == "T1"] - 0.2, 12), TRUE))
)
of_patient <- split(seq_len(nrow(rows)), rows$patient_id)
means <- replicate(10000, {
  data <- rows[unlist(of_patient[sample.int(length(of_patient), replace = TRUE)]), c("stage", "dice", "chance_dice")]
  c(mean(data$dice[data$stage == "T1"]), mean(data$dice - data$chance_dice))
})
found$bootstrap <- list(dice_T1 = quantile(means[1, ], c(0.025, 0.975)), above = quantile(means[2, ], c(0.025, 0.975)))
writeLines(jsonlite::toJSON(found, auto_unbox = TRUE, digits = NA, pretty = TRUE), "trend.json")
