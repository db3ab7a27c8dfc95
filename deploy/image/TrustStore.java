import java.io.FileInputStream;
import java.io.FileOutputStream;
import java.security.KeyStore;
import java.security.cert.Certificate;
import java.security.cert.CertificateFactory;

/** `java TrustStore.java STORE FILE`: a trust store of the certificates in a PEM file. */
class TrustStore {
    public static void main(String[] arguments) throws Exception {
        KeyStore store = KeyStore.getInstance("JKS");
        store.load(null, null);
        try (FileInputStream file = new FileInputStream(arguments[1])) {
            for (Certificate each : CertificateFactory.getInstance("X.509").generateCertificates(file)) {
                store.setCertificateEntry("authority-" + store.size(), each);
            }
        }
        try (FileOutputStream file = new FileOutputStream(arguments[0])) {
            store.store(file, "changeit".toCharArray()); // Java's default; nothing in it is secret
        }
    }
}
