set(HS_SHARE_REMOTE_SOURCES remote.c remote_batch.c remote_still.c remote_pick.c remote_session.c remote_attach.c remote_restart.c remote_frame.c
                            remote_place.c remote_proc.c remote_seccomp.c)
