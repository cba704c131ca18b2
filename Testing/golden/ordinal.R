# Writes ordinal.json: proportional-odds models of cohort.csv as other people's code fits and tests them.
#
#     cd Testing/golden && Rscript ordinal.R
#
# MASS::polr and rms::orm fit; rms::robcov gives the sandwich; Brant's test is written here from his paper (Brant 1990,
# Biometrics 46:1171) on stats::glm; VGAM fits the model without parallel slopes; rms::validate the optimism.

suppressPackageStartupMessages({
  library(MASS)
  library(rms)
  library(VGAM)
})

rows <- read.csv("cohort.csv", stringsAsFactors = FALSE)
rows$y <- as.integer(sub("T", "", rows$stage))
rows$stage <- factor(rows$y, ordered = TRUE)
rows$differentiation <- factor(rows$differentiation, levels = c("well", "moderate", "poor"))
rows$lauren <- factor(rows$lauren, levels = c("intestinal", "diffuse", "mixed"))
first <- rows[!duplicated(rows$patient_id), ]
model <- y ~ radscore + size_cm + differentiation + lauren
names_of <- c(
  "radscore", "size_cm", "differentiation=moderate", "differentiation=poor", "lauren=diffuse", "lauren=mixed"
)
named <- function(x) setNames(as.list(as.numeric(x)), names_of)

# -- fits ------------------------------------------------------------------------------------------------------------

polr_fit <- polr(update(model, stage ~ .), data = first, Hess = TRUE, control = list(reltol = 1e-14, maxit = 1000))
orm_fit <- orm(model, data = first, x = TRUE, y = TRUE, eps = 1e-12)
lrm_fit <- lrm(model, data = first, x = TRUE, y = TRUE, tol = 1e-14, eps = 1e-12)

# Of every row, the patients repeating. rms has P(Y >= k), so its intercepts are our thresholds with the sign changed.
clustered <- lrm(model, data = rows, x = TRUE, y = TRUE, tol = 1e-14, eps = 1e-12)
robust <- robcov(clustered, rows$patient_id)

# -- Brant ------------------------------------------------------------------------------------------------------------

brant <- function(data) {
  X <- model.matrix(model, data)
  p <- ncol(X) - 1
  control <- list(epsilon = 1e-14, maxit = 100)
  fits <- lapply(1:3, function(k) glm.fit(X, as.integer(data$y > k), family = binomial(), control = control))
  pi <- sapply(fits, function(f) f$fitted.values)
  beta <- unlist(lapply(fits, function(f) f$coefficients[-1]))
  V <- matrix(0, 3 * p, 3 * p)
  for (m in 1:3) for (l in m:3) {
    Wm <- pi[, m] * (1 - pi[, m])
    Wl <- pi[, l] * (1 - pi[, l])
    Wml <- pi[, l] - pi[, m] * pi[, l]
    block <- solve(t(X) %*% (Wm * X)) %*% (t(X) %*% (Wml * X)) %*% solve(t(X) %*% (Wl * X))
    block <- block[-1, -1]
    V[(m - 1) * p + 1:p, (l - 1) * p + 1:p] <- block
    V[(l - 1) * p + 1:p, (m - 1) * p + 1:p] <- t(block)
  }
  c(list(binary = matrix(beta, nrow = 3, byrow = TRUE)), wald_tests(beta, V, p))
}

# That the slopes of the three models are equal, `beta` being those of the first, then the second, then the third.
wald_tests <- function(beta, V, p) {
  wald <- function(which) {
    r <- length(which)
    D <- matrix(0, 2 * r, 3 * p)
    for (k in 1:2) for (i in seq_along(which)) {
      D[(k - 1) * r + i, which[i]] <- 1
      D[(k - 1) * r + i, k * p + which[i]] <- -1
    }
    x <- as.numeric(t(D %*% beta) %*% solve(D %*% V %*% t(D)) %*% (D %*% beta))
    list(chi2 = x, df = 2 * r, p = pchisq(x, 2 * r, lower.tail = FALSE))
  }
  list(
    omnibus = wald(1:p),
    terms = list(radscore = wald(1), size_cm = wald(2), differentiation = wald(3:4), lauren = wald(5:6))
  )
}

# Where patients repeat: the three models as one, on three copies of every row, with rms's sandwich over patients.
brant_clustered <- function(data) {
  X <- model.matrix(model, data)
  p <- ncol(X) - 1
  zero <- matrix(0, nrow(X), p + 1)
  stacked <- rbind(cbind(X, zero, zero), cbind(zero, X, zero), cbind(zero, zero, X))[, -1]
  colnames(stacked) <- paste0("x", seq_len(ncol(stacked)))
  above <- c(data$y > 1, data$y > 2, data$y > 3)
  fit <- robcov(lrm(above ~ stacked, x = TRUE, y = TRUE, tol = 1e-14, eps = 1e-12), rep(data$patient_id, 3))
  slopes <- setdiff(1:(3 * (p + 1)), c(1, p + 2, 2 * p + 3))
  wald_tests(coef(fit)[slopes], vcov(fit)[slopes, slopes], p)
}

# The second witness: the model that lets every slope differ.
apart <- vglm(update(model, stage ~ .), cumulative(parallel = FALSE, reverse = TRUE), data = first)
parallel <- vglm(update(model, stage ~ .), cumulative(parallel = TRUE, reverse = TRUE), data = first)
ratio <- 2 * (logLik.vlm(apart) - logLik.vlm(parallel))

# -- variance inflation (Fox and Monette 1992) -------------------------------------------------------------------------

R <- cor(model.matrix(model, first)[, -1])
gvif <- function(which) det(R[which, which, drop = FALSE]) * det(R[-which, -which, drop = FALSE]) / det(R)

# -- optimism ----------------------------------------------------------------------------------------------------------

# Harrell's bootstrap by rms::validate, whose draws are its own; and by hand on draws that are written down.
set.seed(20251220)
checked <- rms::validate(lrm_fit, B = 2000)
row_of <- function(name) as.list(checked[name, c("index.orig", "optimism", "index.corrected")])
draws <- replicate(10, sample(nrow(first), replace = TRUE), simplify = FALSE)
dxy <- function(lp, y) unname(rcorr.cens(lp, y)["Dxy"]) # exact, where lrm's own is of a hundredth's bins
measures <- function(columns, y, lp) {
  again <- lrm.fit(lp, y)
  c(dxy(lp, y), unname(again$stats["R2"]), unname(again$coefficients[4]))
}
optimism_of <- function(rows) {
  b <- lrm.fit(lrm_fit$x[rows, ], first$y[rows])$coefficients[4:9]
  seen <- measures(lrm_fit$x[rows, ], first$y[rows], lrm_fit$x[rows, ] %*% b)
  seen - measures(lrm_fit$x, first$y, lrm_fit$x %*% b)
}
optimism <- rowMeans(sapply(draws, optimism_of))

found <- list(
  polr = list(
    coefficients = named(coef(polr_fit)), thresholds = as.numeric(polr_fit$zeta),
    se = named(sqrt(diag(vcov(polr_fit)))[1:6]), threshold_se = as.numeric(sqrt(diag(vcov(polr_fit)))[7:9]),
    log_likelihood = as.numeric(logLik(polr_fit))
  ),
  orm = list(
    coefficients = named(coef(orm_fit)[4:9]), thresholds = -as.numeric(coef(orm_fit)[1:3]),
    se = named(sqrt(diag(vcov(orm_fit, intercepts = "all")))[4:9]),
    threshold_se = as.numeric(sqrt(diag(vcov(orm_fit, intercepts = "all")))[1:3])
  ),
  lrm = list(
    p = named(2 * pnorm(-abs(coef(lrm_fit) / sqrt(diag(vcov(lrm_fit))))[4:9])),
    likelihood_ratio = unname(lrm_fit$stats["Model L.R."]), df = unname(lrm_fit$stats["d.f."]),
    nagelkerke_r2 = unname(lrm_fit$stats["R2"]), dxy = dxy(predict(lrm_fit), first$y)
  ),
  robust = list(
    coefficients = named(coef(robust)[4:9]), thresholds = -as.numeric(coef(robust)[1:3]),
    se = named(sqrt(diag(vcov(robust)))[4:9]), threshold_se = as.numeric(sqrt(diag(vcov(robust)))[1:3]),
    naive_se = named(sqrt(diag(vcov(clustered)))[4:9])
  ),
  brant = brant(first),
  brant_clustered = brant_clustered(rows),
  apart = list(chi2 = as.numeric(ratio), df = 12, p = pchisq(as.numeric(ratio), 12, lower.tail = FALSE),
               log_likelihood = as.numeric(logLik.vlm(apart))),
  gvif = list(radscore = gvif(1), size_cm = gvif(2), differentiation = gvif(3:4), lauren = gvif(5:6),
              per_column = named(diag(solve(R)))),
  rms_vif = named(rms::vif(lrm_fit)),
  validate = list(B = 2000, dxy = row_of("Dxy"), r2 = row_of("R2"), slope = row_of("Slope")),
  drawn = list(rows = draws, dxy = optimism[1], r2 = optimism[2], slope = optimism[3])
)
writeLines(jsonlite::toJSON(found, auto_unbox = TRUE, digits = 12, pretty = TRUE), "ordinal.json")
