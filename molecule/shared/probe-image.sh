# Make the image `probe` of a few of the host's own programs: small, and no registry is asked.
programs=$(for name in bash cat sleep tail timeout; do command -v $name; done)
libraries=$(ldd $programs | grep -o '/[^ :]* ' | sort -u)
tar -C / --create --dereference $(echo $programs $libraries | sed 's#\(^\| \)/#\1#g') |
  docker import --change 'CMD ["sleep", "infinity"]' - probe >/dev/null
