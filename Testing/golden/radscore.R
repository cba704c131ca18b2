# Writes radscore.json: LASSO of features.csv on the stages of cohort.csv, by glmnet, with folds by patient.
#
#     Rscript Testing/golden/radscore.R
suppressPackageStartupMessages({library(glmnet); library(jsonlite)})
here <- dirname(sub("--file=", "", grep("--file=", commandArgs(FALSE), value = TRUE)))
cohort <- read.csv(file.path(here, "cohort.csv"))
features <- read.csv(file.path(here, "features.csv"), check.names = FALSE)
stopifnot(identical(cohort$case_id, features$case_id))
x <- as.matrix(features[, -1])
y <- as.numeric(substr(cohort$stage, 2, 2))
foldid <- as.integer(substr(cohort$patient_id, 2, 4)) %% 5 + 1
lambda <- exp(seq(log(0.6), log(0.003), length.out = 30))

glmnet.control(fdev = 0, devmax = 1)
cv <- cv.glmnet(x, y, family = "gaussian", lambda = lambda, foldid = foldid, keep = TRUE, thresh = 1e-16, maxit = 1e7)
free <- glmnet(x, y, family = "gaussian", nlambda = 100, thresh = 1e-16, maxit = 1e7)
sd_n <- function(v) sqrt(mean((v - mean(v))^2))
chosen <- which(cv$lambda == cv$lambda.min)
# Of these standardised features, so that a coefficient is of a standard deviation (1/n).
per_sd <- as.matrix(cv$glmnet.fit$beta) * apply(x, 2, sd_n)
write_json(list(
  made_by = paste("radscore.R, R", getRversion(), ", glmnet", packageVersion("glmnet")),
  lambda = cv$lambda,
  foldid = foldid,
  coefficients_per_sd = unname(per_sd[, c(5, 12, chosen, 30)]),
  at = c(5, 12, chosen, 30),
  cvm = cv$cvm, cvsd = cv$cvsd, nzero = unname(cv$nzero),
  lambda_min = cv$lambda.min, lambda_1se = cv$lambda.1se,
  held_out = unname(cv$fit.preval[, chosen]),
  fitted = as.vector(predict(cv$glmnet.fit, x, s = cv$lambda.min)),
  own_lambda_first = free$lambda[1], own_lambda_ratio = free$lambda[2] / free$lambda[1]
), file.path(here, "radscore.json"), digits = 8, auto_unbox = TRUE)
