/* Uses its own device all the time while others do what they want with theirs: beside NODE */
#include "edu.h"

int main(int argc, char **argv) {
  CHECK(argc == 2);
  struct edu e;
  edu_open_cdev(&e, argv[1]);
  char *memory = new_pages(PAGE), text[64];
  for (int i = 0; i < 500; i++) {
    OK(edu_map(&e, memory, 0x10000, PAGE));
    snprintf(text, sizeof text, "round %d", i);
    edu_roundtrip(&e, 0x10000, memory, text);
    OK(edu_unmap(&e, 0x10000, PAGE));
  }
  puts("undisturbed");
  return 0;
}
