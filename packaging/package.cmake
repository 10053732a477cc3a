# A Debian package: `cmake --build BUILD --target package`, or `./run package`.
set(HS_PACKAGE_MAINTAINER "HS-Share <hs-share@localhost>" CACHE STRING "Whoever builds the package and answers for it: Name <address>")

set(CPACK_GENERATOR DEB)
set(CPACK_SOURCE_GENERATOR "")
set(CPACK_PACKAGE_NAME hs-share)
set(CPACK_PACKAGE_VENDOR HS-Share)
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "share the identical cold memory of virtual machines")
# Of the next variable a line break is a line of the control file.
set(CPACK_PACKAGE_DESCRIPTION "hs-shared finds identical cold 4 KiB pages in the memory of virtual
machines that opted in, and lets the kernel (KSM) share them, while hot
2 MiB huge pages stay whole. It looks before it marks anything: only pages
that are cold and known to be identical are ever mergeable, and ksmd is
stopped in between.
.
Guests are libvirt's domains and other processes; they share only inside
their trust group. The service starts in a mode that only observes and
reports. hs-share is the command to talk to it.")

# Staged below DESTDIR with the prefix it will have: so the unit names the right path, and /etc is /etc.
set(CPACK_SET_DESTDIR ON)
set(CPACK_INSTALL_PREFIX /usr)
set(CPACK_PROJECT_CONFIG_FILE ${CMAKE_CURRENT_BINARY_DIR}/packaging/cpack.cmake)
set(CPACK_STRIP_FILES ON)
set(CPACK_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)
set(CPACK_PRE_BUILD_SCRIPTS ${CMAKE_CURRENT_BINARY_DIR}/packaging/stage.cmake)

set(CPACK_DEBIAN_PACKAGE_MAINTAINER "${HS_PACKAGE_MAINTAINER}")
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION admin)
set(CPACK_DEBIAN_PACKAGE_PRIORITY optional)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
# Not needed: processes opt in without it.
set(CPACK_DEBIAN_PACKAGE_SUGGESTS "libvirt-daemon-system, bash-completion, prometheus, prometheus-node-exporter")
set(debian ${CMAKE_CURRENT_SOURCE_DIR}/packaging/debian)
set(CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA ${debian}/conffiles ${debian}/postinst ${debian}/prerm ${debian}/postrm)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)

configure_file(packaging/cpack.cmake.in packaging/cpack.cmake @ONLY)
configure_file(packaging/stage.cmake.in packaging/stage.cmake @ONLY)
configure_file(packaging/debian/changelog.in packaging/changelog @ONLY)
include(CPack)
