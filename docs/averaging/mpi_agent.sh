#!/bin/sh
# In place of ssh for Open MPI: mpi_agent.sh HOST COMMAND... runs the command in the namespace at 10.77.0.N, under its name.
space=shoal-avg-${1##*.}; shift
exec ip netns exec "$space" unshare --uts sh -c "hostname $space; $*"
