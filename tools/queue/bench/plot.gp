# SPDX-License-Identifier: GPL-2.0
# How the plots of `make bench` look; suites/bench.py adds the data.
set terminal svg size 1200,1000 font "sans,11" background "white"
set logscale xy
set xrange [0.8:1300]
set xtics (1, 4, 16, 64, 256, "1,024" 1024)
set format y "10^{%L}"
set xlabel "fences"
set ylabel "instructions"
set key top left noenhanced
set title noenhanced
set grid
unset mxtics
unset mytics
set style data linespoints
