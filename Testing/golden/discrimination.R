# Reference numbers of areas under the ROC curve, kappas and proportions, by other people's code.
#
#     Rscript Testing/golden/discrimination.R
#
# R 4.2, pROC 1.18 (DeLong), psych 2.2 (kappa), Hmisc (Wilson). Writes discrimination.json beside it.

suppressMessages({library(pROC); library(psych); library(Hmisc); library(jsonlite)})
here <- dirname(sub("--file=", "", grep("--file=", commandArgs(), value = TRUE)))
rows <- read.csv(file.path(here, "cohort.csv"))
first <- rows[!duplicated(rows$patient_id), ]
stages <- paste0("T", 1:4)

areas <- lapply(setNames(stages, stages), function(s) {
  one <- roc(first$stage == s, first[[paste0("p_", s)]], direction = "<", quiet = TRUE)
  other <- roc(first$stage == s, first[[paste0("q_", s)]], direction = "<", quiet = TRUE)
  test <- roc.test(one, other, method = "delong", paired = TRUE)
  list(auc = as.numeric(auc(one)), variance = var(one, method = "delong"),
       other = as.numeric(auc(other)), z = unname(test$statistic), p = test$p.value)
})

# Obuchowski (1997), as her equations have it, for rows that share patients: structural components summed within a
# patient, and the covariance between a patient's positives and negatives.
clustered <- sapply(stages, function(s) {
  positive <- rows$stage == s
  score <- rows[[paste0("p_", s)]]
  above <- sapply(which(positive), function(i) mean((score[i] > score[!positive]) + 0.5 * (score[i] == score[!positive])))
  below <- sapply(which(!positive), function(j) mean((score[positive] > score[j]) + 0.5 * (score[positive] == score[j])))
  a <- mean(above); m <- sum(positive); n <- sum(!positive)
  ids <- unique(rows$patient_id)
  x <- sapply(ids, function(i) sum(above[rows$patient_id[positive] == i] - a))
  y <- sapply(ids, function(i) sum(below[rows$patient_id[!positive] == i] - a))
  k10 <- sum(tapply(positive, rows$patient_id, any)); k01 <- sum(tapply(!positive, rows$patient_id, any)); k <- length(ids)
  s10 <- k10 / ((k10 - 1) * m) * sum(x^2); s01 <- k01 / ((k01 - 1) * n) * sum(y^2); s11 <- k / (k - 1) * sum(x * y)
  s10 / m + s01 / n + 2 * s11 / (m * n)
})

said <- apply(first[paste0("p_", stages)], 1, which.max)
true <- as.integer(factor(first$stage, levels = stages))
kappa <- function(weights) cohen.kappa(cbind(true, said), w = weights)
apart <- abs(outer(1:4, 1:4, "-"))
hits <- sum(said == true)
wilson <- binconf(hits, length(true), method = "wilson")

write_json(list(
  made_by = paste("R", getRversion(), "pROC", packageVersion("pROC"), "psych", packageVersion("psych")),
  areas = areas, clustered_variance = as.list(clustered),
  kappa = list(plain = kappa(1 - (apart > 0))$weighted.kappa, linear = kappa(1 - apart / 3)$weighted.kappa,
               quadratic = kappa(1 - apart^2 / 9)$weighted.kappa),
  wilson = list(hits = hits, n = length(true), low = wilson[2], high = wilson[3])
), file.path(here, "discrimination.json"), auto_unbox = TRUE, digits = 12, pretty = TRUE)
