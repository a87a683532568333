import Adversary
import Lab
import Testing

@Suite("Attack runs") struct AttackTests {
    @Test func `every profile that is not run has a reason and every one that is run has faulty replicas or none`() {
        let run = Set(AttackProfiles.all.map(\.name))
        #expect(run.isSuperset(of: ["none", "silent", "delay-1ms", "delay-10ms", "delay-100ms"]))
        for profile in Profiles.all where profile.name != "delay" {
            #expect(run.contains(profile.name) == (AttackProfiles.reasonForSimulatorOnly(profile) == nil))
        }
        #expect(AttackProfiles.named("out-of-model")?.isOutOfModel == true)
    }
}
