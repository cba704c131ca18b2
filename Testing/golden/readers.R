# Writes readers.json: paired comparisons of the readers and models in cohort.csv as other people's code makes them.
#
#     cd Testing/golden && Rscript readers.R
#
# stats::binom.test and mcnemar.test, pROC::roc.test (paired DeLong), psych::cohen.kappa, p.adjust. Written here from the
# papers, for want of a package: the clustered test (Obuchowski 1998, Stat Med 17:1495, from the variances and the
# covariance of the two shares), the macro average's DeLong (from comparisons of all pairs), Fleiss' kappa (1971).

suppressPackageStartupMessages({
  library(pROC)
  library(psych)
})

rows <- read.csv("cohort.csv", stringsAsFactors = FALSE)
first <- rows[!duplicated(rows$patient_id), ]
stages <- paste0("T", 1:4)
scores <- function(data, prefix) as.matrix(data[, paste0(prefix, "_", stages)])
called <- function(data, prefix) stages[max.col(scores(data, prefix), ties.method = "first")]

# -- accuracy ---------------------------------------------------------------------------------------------------------

discordant <- function(a, b, truth) c(sum(a == truth & b != truth), sum(a != truth & b == truth))
exact <- function(n) binom.test(n[1], sum(n), 0.5)$p.value
crossing <- function(a, b, truth) {
  n <- discordant(a, b, truth)
  list(both_right = sum(a == truth & b == truth), only_first = n[1], only_second = n[2],
       both_wrong = sum(a != truth & b != truth), exact = exact(n))
}
obuchowski <- function(a, b, truth, patient) {
  right <- cbind(a == truth, b == truth)
  x <- rowsum(right * 1, patient)
  n <- as.numeric(table(patient)[rownames(x)])
  K <- nrow(x)
  N <- sum(n)
  pooled <- mean(right)  # under the null hypothesis both have this share
  residual <- x - n * pooled
  S <- K / (K - 1) * crossprod(residual) / N^2
  p <- colSums(x) / N
  chi2 <- (p[1] - p[2])^2 / (S[1, 1] + S[2, 2] - 2 * S[1, 2])
  list(chi2 = chi2, p = pchisq(chi2, 1, lower.tail = FALSE))
}
mcnemar_of_first <- mcnemar.test(
  table(factor(called(first, "p") == first$stage), factor(called(first, "q") == first$stage)), correct = FALSE
)

# -- kappas -----------------------------------------------------------------------------------------------------------

weights <- function(power) 1 - (abs(outer(1:4, 1:4, "-")) / 3)^power
kappa_of <- function(a, truth, power) {
  counts <- table(factor(truth, stages), factor(a, stages))
  suppressWarnings(cohen.kappa(unclass(counts), w = weights(power))$weighted.kappa)
}
kappas <- function(data) {
  difference <- function(power) {
    kappa_of(called(data, "p"), data$stage, power) - kappa_of(called(data, "q"), data$stage, power)
  }
  list(kappa_linear = difference(1), kappa_quadratic = difference(2))
}
# The bootstrap over patients, drawing rows as they stand; a short kappa, because psych's is slow.
fast_kappa <- function(a, truth, power) {
  observed <- table(factor(truth, stages), factor(a, stages)) / length(a)
  apart <- abs(outer(1:4, 1:4, "-"))^power
  1 - sum(apart * observed) / sum(apart * outer(rowSums(observed), colSums(observed)))
}
set.seed(20251220)
whole <- data.frame(p = called(rows, "p"), q = called(rows, "q"), stage = rows$stage)
of_patient <- split(seq_len(nrow(rows)), rows$patient_id)
drawn <- replicate(10000, {
  data <- whole[unlist(of_patient[sample.int(length(of_patient), replace = TRUE)]), ]
  c(mean(data$p == data$stage) - mean(data$q == data$stage),
    fast_kappa(data$p, data$stage, 1) - fast_kappa(data$q, data$stage, 1),
    fast_kappa(data$p, data$stage, 2) - fast_kappa(data$q, data$stage, 2))
})
intervals <- apply(drawn, 1, quantile, c(0.025, 0.975))

# -- areas ------------------------------------------------------------------------------------------------------------

paired <- function(stage) {
  roc_of <- function(prefix) {
    roc(as.integer(first$stage == stage), first[[paste0(prefix, "_", stage)]], levels = c(0, 1), direction = "<")
  }
  test <- roc.test(roc_of("p"), roc_of("q"), method = "delong", paired = TRUE)
  list(difference = as.numeric(diff(rev(test$estimate))), z = as.numeric(test$statistic), p = test$p.value)
}
macro <- function() {
  structural <- function(prefix, stage) {  # what each row adds to the area and to its variance
    is <- first$stage == stage
    s <- first[[paste0(prefix, "_", stage)]]
    above <- outer(s[is], s[!is], ">") + 0.5 * outer(s[is], s[!is], "==")
    area <- mean(above)
    m <- sum(is)
    n <- sum(!is)
    each <- numeric(nrow(first))
    each[is] <- (rowMeans(above) - area) / sqrt(m * (m - 1))
    each[!is] <- (colMeans(above) - area) / sqrt(n * (n - 1))
    list(area = area, each = each)
  }
  found <- lapply(stages, function(s) list(structural("p", s), structural("q", s)))
  difference <- mean(sapply(found, function(f) f[[1]]$area - f[[2]]$area))
  each <- rowMeans(sapply(found, function(f) f[[1]]$each - f[[2]]$each))
  se <- sqrt(sum(each^2))
  list(difference = difference, se = se, p = 2 * pnorm(-abs(difference) / se))
}

# -- the reader study ---------------------------------------------------------------------------------------------------

fleiss <- function(data, columns) {
  votes <- t(apply(data[, columns], 1, function(x) table(factor(x, stages))))
  k <- length(columns)
  agreeing <- mean((rowSums(votes^2) - k) / (k * (k - 1)))
  expected <- sum((colSums(votes) / sum(votes))^2)
  (agreeing - expected) / (1 - expected)
}
gain <- function(reader) {
  before <- first[[paste0(reader, "_unaided")]]
  after <- first[[paste0(reader, "_aided")]]
  changes <- lapply(setNames(stages, stages), function(s) {
    is <- first$stage == s
    list(n = sum(is), gained = sum(is & before != s & after == s), lost = sum(is & before == s & after != s))
  })
  list(unaided = sum(before == first$stage), aided = sum(after == first$stage),
       exact = exact(discordant(after, before, first$stage)), by_stage = changes)
}
readers <- list(reader1 = gain("reader1"), reader2 = gain("reader2"))
stacked <- list(
  stage = rep(first$stage, 2), patient = rep(first$patient_id, 2),
  before = c(first$reader1_unaided, first$reader2_unaided), after = c(first$reader1_aided, first$reader2_aided)
)

# -- three readers of independent rows, corrected for each other --------------------------------------------------------

three <- list(model = called(first, "p"), weak = called(first, "q"), eus = first$eus)
pairs <- combn(names(three), 2, simplify = FALSE)
raw <- sapply(pairs, function(x) exact(discordant(three[[x[1]]], three[[x[2]]], first$stage)))

found <- list(
  first = list(
    crossing = crossing(called(first, "p"), called(first, "q"), first$stage),
    mcnemar_chi2 = as.numeric(mcnemar_of_first$statistic),
    kappas = kappas(first),
    areas = c(lapply(setNames(stages, paste0("auc_", stages)), paired), list(auc_macro = macro())),
    holm = list(pairs = lapply(pairs, identity), p = raw, p_holm = p.adjust(raw, "holm"))
  ),
  all = list(
    crossing = crossing(called(rows, "p"), called(rows, "q"), rows$stage),
    obuchowski = obuchowski(called(rows, "p"), called(rows, "q"), rows$stage, rows$patient_id),
    kappas = kappas(rows),
    bootstrap = list(accuracy = intervals[, 1], kappa_linear = intervals[, 2], kappa_quadratic = intervals[, 3])
  ),
  study = list(
    readers = readers,
    pooled = obuchowski(stacked$after, stacked$before, stacked$stage, stacked$patient),
    holm = p.adjust(sapply(readers, function(r) r$exact), "holm"),
    fleiss = list(unaided = fleiss(first, c("reader1_unaided", "reader2_unaided")),
                  aided = fleiss(first, c("reader1_aided", "reader2_aided")),
                  five = fleiss(first, c("reader1_unaided", "reader1_aided", "reader2_unaided", "reader2_aided", "eus")))
  )
)
writeLines(jsonlite::toJSON(found, auto_unbox = TRUE, digits = 12, pretty = TRUE), "readers.json")
