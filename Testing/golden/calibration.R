# Writes calibration.json: calibration of the models in cohort.csv as R finds it.
#
#     cd Testing/golden && Rscript calibration.R
#
# stats::glm, sandwich::vcovCL (clustered by patient, HC1), rms::val.prob (slope, Brier), nnet::multinom (probabilities
# that are fitted to the rows). Written here from the papers, for want of a package: the Hosmer-Lemeshow tests (Hosmer &
# Lemeshow 1980; Fagerland, Hosmer & Bofin 2008; Fagerland & Hosmer 2013), the ECE.

suppressPackageStartupMessages({
  library(nnet)
  library(rms)
  library(sandwich)
})

rows <- read.csv("cohort.csv", stringsAsFactors = FALSE)
first <- rows[!duplicated(rows$patient_id), ]
stages <- paste0("T", 1:4)
of <- function(data, prefix) as.matrix(data[, paste0(prefix, "_", stages)])
number <- function(data) match(data$stage, stages)
at_least <- function(p, k) round(rowSums(p[, k:4, drop = FALSE]), 12)
clip <- function(p) pmin(pmax(p, 1e-6), 1 - 1e-6)
tenths <- function(score, g = 10) {
  edges <- unique(quantile(score, seq_len(g - 1) / g, type = 1))
  droplevels(cut(score, c(-Inf, edges, Inf)))
}

# -- curves and ECE ---------------------------------------------------------------------------------------------------

curve_of <- function(y, p) {
  bin <- tenths(p)
  list(n = as.integer(table(bin)), predicted = as.numeric(tapply(p, bin, mean)),
       observed = as.numeric(tapply(y, bin, mean)))
}
ece <- function(y, p) with(curve_of(y, p), sum(n / sum(n) * abs(predicted - observed)))

# -- Hosmer-Lemeshow --------------------------------------------------------------------------------------------------

hosmer_lemeshow <- function(y, p, score) {
  bin <- tenths(score)
  observed <- unclass(table(bin, factor(y, seq_len(ncol(p)))))
  expected <- rowsum(p, bin)
  statistic <- sum((observed - expected)^2 / expected)
  df <- nlevels(bin)
  scale <- 1
  if (ncol(p) > 2) {  # the weights of the chi-squares that it is the sum of, given the probabilities (Satterthwaite 1946)
    weights <- unlist(lapply(levels(bin), function(level) {
      covariance <- Reduce(`+`, lapply(which(bin == level), function(i) diag(p[i, ]) - tcrossprod(p[i, ])))
      eigen(covariance / sqrt(tcrossprod(expected[level, ])), symmetric = TRUE)$values
    }))
    df <- round(sum(weights)^2 / sum(weights^2), 2)
    scale <- sum(weights^2) / sum(weights)
  }
  list(statistic = statistic, df = df, p = pchisq(statistic / scale, df, lower.tail = FALSE), groups = nlevels(bin),
       least = min(expected))
}
binary <- function(y, p) hosmer_lemeshow(y + 1, cbind(1 - p, p), p)
expected_stage <- function(p) round(as.numeric(p %*% 0:3), 12)

first$size_c <- first$size_cm - 3.5
multinomial <- round(fitted(multinom(factor(stage) ~ radscore + size_c, first, trace = FALSE)), 9)

# -- recalibration ----------------------------------------------------------------------------------------------------

interval <- function(model, name, v) {
  value <- coef(model)[[name]]
  value + c(0, -1, 1) * qnorm(0.975) * sqrt(v[name, name])
}
recalibration <- function(data, prefix, k, clustered) {
  y <- number(data) >= k
  odds <- qlogis(clip(at_least(of(data, prefix), k)))
  strict <- glm.control(epsilon = 1e-14, maxit = 100)
  large <- glm(y ~ 1 + offset(odds), family = binomial, control = strict)
  slope <- glm(y ~ odds, family = binomial, control = strict)
  v <- function(m) if (clustered) vcovCL(m, cluster = data$patient_id, type = "HC1", cadjust = TRUE) else vcov(m)
  list(intercept = interval(large, "(Intercept)", v(large)), slope = interval(slope, "odds", v(slope)))
}
recalibrations <- function(data, clustered) {
  sapply(c("p", "q"), function(prefix) {
    setNames(lapply(2:4, function(k) recalibration(data, prefix, k, clustered)), stages[2:4])
  }, simplify = FALSE)
}
val_prob <- function(prefix, k) {
  found <- val.prob(clip(at_least(of(first, prefix), k)), as.numeric(number(first) >= k), pl = FALSE)
  list(slope = found[["Slope"]], brier = found[["Brier"]])
}

# -- temperature ------------------------------------------------------------------------------------------------------

log_loss <- function(t, data, prefix) {
  logs <- log(pmax(of(data, prefix), 1e-6)) / t
  mean(log(rowSums(exp(logs))) - logs[cbind(seq_len(nrow(data)), number(data))])
}
temperature <- function(data, prefix) {
  exp(optimize(function(u) log_loss(exp(u), data, prefix), log(c(0.05, 20)), tol = 1e-9)$minimum)
}

one_hot <- outer(number(first), 1:4, "==")
p <- of(first, "p")
q <- of(first, "q")
result <- list(
  curves = list(T2 = curve_of(number(first) == 2, p[, 2]), `at least T3` = curve_of(number(first) >= 3, at_least(p, 3))),
  ece = list(top = ece(max.col(p, "first") == number(first), apply(p, 1, max)),
             classwise = mean(sapply(1:4, function(k) ece(number(first) == k, p[, k])))),
  brier = list(all = mean(rowSums((p - one_hot)^2)), T2 = mean((p[, 2] - one_hot[, 2])^2)),
  hosmer_lemeshow = list(
    binary = binary(number(first) >= 3, at_least(q, 3)),
    ordinal = hosmer_lemeshow(number(first), q, expected_stage(q)),
    multinomial = hosmer_lemeshow(number(first), multinomial, at_least(multinomial, 2))
  ),
  recalibration = list(first = recalibrations(first, FALSE), all = recalibrations(rows, TRUE)),
  val_prob = sapply(c("p", "q"), function(m) setNames(lapply(2:4, function(k) val_prob(m, k)), stages[2:4]),
                    simplify = FALSE),
  temperature = list(p = temperature(rows, "p"), q = temperature(rows, "q")),
  log_loss = list(p = log_loss(1, rows, "p"), q = log_loss(1, rows, "q")),
  fitted = list(multinomial = unname(multinomial))
)
writeLines(jsonlite::toJSON(result, auto_unbox = TRUE, digits = 10), "calibration.json")
