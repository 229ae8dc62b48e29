//! Given: nothing. Gives: the functions of TLS libraries by number: the cookie with which the daemon attaches the probe of
//! all entries, and by which that probe knows where it is. Refuses to know: where the functions are.

/// `int SSL_read(SSL *ssl, void *buf, int num)`.
pub const READ: u64 = 1;
/// `int SSL_write(SSL *ssl, const void *buf, int num)`.
pub const WRITE: u64 = 2;
/// `int SSL_read_ex(SSL *ssl, void *buf, size_t num, size_t *readbytes)`.
pub const READ_EX: u64 = 3;
/// `int SSL_write_ex(SSL *ssl, const void *buf, size_t num, size_t *written)`.
pub const WRITE_EX: u64 = 4;
/// `void SSL_free(SSL *ssl)`.
pub const FREE: u64 = 5;
/// `int SSL_get_error(const SSL *ssl, int ret)`; only its return is of interest.
pub const GET_ERROR: u64 = 6;
/// `ssize_t gnutls_record_recv(gnutls_session_t session, void *data, size_t data_size)`, and functions of other libraries
/// like it: 0 says that the peer has ended its direction.
pub const RECEIVE: u64 = 7;
/// `func (c *Conn) Read(b []byte) (int, error)` of Go's `crypto/tls`.
pub const GO_READ: u64 = 8;
/// `func (c *Conn) Write(b []byte) (int, error)` of Go's `crypto/tls`.
pub const GO_WRITE: u64 = 9;
/// `func (c *Conn) Close() error` of Go's `crypto/tls`.
pub const GO_CLOSE: u64 = 10;
/// A `RET` instruction of Go's `Read`.
pub const GO_READ_RETURN: u64 = 11;
/// A `RET` instruction of Go's `Write`.
pub const GO_WRITE_RETURN: u64 = 12;
/// `PRInt32 PR_Read(PRFileDesc *fd, void *buf, PRInt32 amount)` of NSPR. This and the next two serve files and plain sockets
/// as well as TLS.
pub const NSPR_READ: u64 = 13;
/// `PRInt32 PR_Recv(PRFileDesc *fd, void *buf, PRInt32 amount, PRIntn flags, PRIntervalTime timeout)` of NSPR.
pub const NSPR_RECEIVE: u64 = 14;
/// `PRInt32 PR_Write(PRFileDesc *fd, const void *buf, PRInt32 amount)` of NSPR, and `PR_Send`, which has more arguments.
pub const NSPR_WRITE: u64 = 15;
/// `PRInt32 PR_Writev(PRFileDesc *fd, const PRIOVec *iov, PRInt32 iov_size, PRIntervalTime timeout)` of NSPR, which is not read.
pub const NSPR_VECTOR: u64 = 24;
/// `PRFileDesc *SSL_ImportFD(PRFileDesc *model, PRFileDesc *fd)` of NSS; only its return is of interest.
pub const NSS_IMPORT: u64 = 16;
/// `fn send_appdata_encrypt(&mut self, payload: OutboundChunks<'_>, limit: Limit, …) -> usize` of rustls's `CommonState`.
pub const RUSTLS_SEND: u64 = 17;
/// `fn send_msg_encrypt(&mut self, m: PlainMessage)` of the same.
pub const RUSTLS_MESSAGE: u64 = 18;
/// Where one of those two ends.
pub const RUSTLS_LEFT: u64 = 19;
/// `fn encrypt(&mut self, msg: OutboundPlainMessage<'_>, seq: u64) -> Result<OutboundOpaqueMessage, Error>` of rustls's trait
/// `MessageEncrypter`.
pub const RUSTLS_ENCRYPT: u64 = 20;
/// `fn take_received_plaintext(&mut self, bytes: Payload<'_>)` of rustls's `CommonState`.
pub const RUSTLS_TAKE: u64 = 21;
/// `fn complete_io<T>(&mut self, io: &mut T)` of rustls's `ConnectionCommon`, and `fn read_io(&mut self, cx: &mut Context<'_>)` of
/// tokio-rustls's `Stream`: within them a connection's socket is read and what it brought is taken.
pub const RUSTLS_SCOPE: u64 = 22;
/// Where one of those two ends.
pub const RUSTLS_SCOPE_LEFT: u64 = 23;
