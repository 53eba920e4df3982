"""FactorLang: a language whose factors are known at every token, and with them the best possible cross-entropy."""
