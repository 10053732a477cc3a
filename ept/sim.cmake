# The simulated guest; included by this folder's CMakeLists.txt.
set(HS_EPT_SIM_SOURCES sim_view.c sim_view_guest.c sim_view_clock.c)
