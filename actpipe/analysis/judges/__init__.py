"""Language models, encoders and people who judge explanations, and the exam that certifies them."""
