from rsdata.cli import main

main()
