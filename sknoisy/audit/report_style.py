"""Style sheet of the report: readable at 320 pixels, on a desktop and on A4 paper."""

__all__ = ["STYLE"]

# Texts and bars have a contrast of at least 4.5:1 on white.
STYLE = """
:root{color-scheme:light}
*{box-sizing:border-box}
body{margin:0;background:#fff;color:#1b1b1b;font:16px/1.5 system-ui,-apple-system,"Segoe UI",
Roboto,"Noto Sans","DejaVu Sans",Arial,sans-serif}
main{max-width:72rem;margin:0 auto;padding:1rem}
h1{font-size:1.6rem;line-height:1.25;margin:.5rem 0 1rem;overflow-wrap:anywhere}
h2{font-size:1.25rem;margin:2.2rem 0 .6rem;border-bottom:2px solid #0b5394;padding-bottom:.2rem}
p,ul{max-width:46rem;margin:.5rem 0}
li,p{overflow-wrap:anywhere}
.lead{font-size:1.2rem;line-height:1.45;border-left:.35rem solid #0b5394;
padding:.2rem 0 .2rem .8rem}
.small{font-size:.875rem;color:#4a4a4a}
table{border-collapse:collapse;width:100%;margin:.8rem 0}
th,td{text-align:left;vertical-align:top;padding:.45rem .6rem;border-bottom:1px solid #b8b8b8;
overflow-wrap:anywhere}
th{background:#eef3f8;font-size:.9rem;overflow-wrap:normal}
.classes{max-width:46rem}
.classes td:nth-child(n+2){white-space:nowrap}
.bar{display:inline-block;width:5rem;height:.7rem;vertical-align:baseline}
.track{fill:#dcdcdc}
.fill0{fill:#0b5394}
.fill1{fill:#a84300}
dl{display:flex;flex-wrap:wrap;gap:.1rem .9rem;margin:0;font-size:.875rem}
dl div{max-width:100%}
dt{display:inline;color:#4a4a4a}
dt::after{content:": "}
dd{display:inline;margin:0}
.box{display:inline-block;width:1.1rem;height:1.1rem;border:2px solid #1b1b1b}
.thumbnail{display:block;width:96px;height:auto;image-rendering:auto}
.scroll{overflow-x:auto}
svg text{font:11px system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",Arial,sans-serif;
fill:#000}
svg .axis{font-weight:600}
svg .count{font-size:10px}
svg .light{fill:#fff}
.heat{height:auto}
.histogram{width:100%;max-width:34rem;height:auto}
@media (min-width:48.01rem){
.cards th{white-space:nowrap}
.cards td[data-head$="label"]{min-width:7.5rem}
.cards td[data-head="Row"],.cards td[data-head="How sure"]{white-space:nowrap}
.cards td[data-head="Why"]{min-width:12rem}
.cards td[data-head="Values of the row"]{width:42%}
}
@media (max-width:48rem){
.cards thead{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
.cards,.cards tbody,.cards tr,.cards td{display:block;width:100%}
.cards tr{border:1px solid #767676;border-radius:.4rem;padding:.3rem .2rem;margin:.8rem 0}
.cards td{border:0;padding:.2rem .5rem}
.cards td::before{content:attr(data-head) ": ";font-weight:600}
.classes th,.classes td{padding:.35rem .3rem}
.classes .bar{width:2.5rem}
}
@page{size:A4;margin:14mm}
@media print{
body{font-size:10pt}
main{max-width:none;padding:0}
thead{display:table-header-group}
tr,figure,svg{break-inside:avoid}
h2{break-after:avoid}
.scroll{overflow:visible}
.heat{max-width:100%}
*{print-color-adjust:exact;-webkit-print-color-adjust:exact}
}
"""
