//! Promises about network policies. What is allowed is tried with real packets, and what is not has to arrive nowhere.

mod suite;
