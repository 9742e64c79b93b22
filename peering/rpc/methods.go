package rpc

import (
	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/peering/pb"
)

// need is who may call a method: one of the constants below or an operator's role.
type need string

const (
	stranger need = "stranger" // only by protocol fed-enroll
	sibling  need = "sibling"  // a replica of the same region
	replica  need = "replica"  // a replica of the trust domain
	viewer        = need(catalog.RoleViewer)
	operator      = need(catalog.RoleOperator)
	admin         = need(catalog.RoleAdmin)
)

// methods lists every method of every service. One that is not listed cannot be
// called, and a test sees to it that none is forgotten.
var methods = map[string]need{
	pb.Enrollment_Hello_FullMethodName:     stranger,
	pb.Enrollment_Enroll_FullMethodName:    stranger,
	pb.Enrollment_Renew_FullMethodName:     stranger,
	pb.Enrollment_IssueSVID_FullMethodName: stranger,

	pb.Siblings_Propose_FullMethodName:      sibling,
	pb.Siblings_ReadIndex_FullMethodName:    sibling,
	pb.Siblings_Prove_FullMethodName:        sibling,
	pb.Siblings_Sign_FullMethodName:         sibling,
	pb.Siblings_SignWorkload_FullMethodName: sibling,
	pb.Siblings_Announce_FullMethodName:     sibling,
	pb.Siblings_Samples_FullMethodName:      sibling,

	pb.Federation_RegisterRegion_FullMethodName: replica,
	pb.Federation_NextEpoch_FullMethodName:      replica,
	pb.Federation_ClaimCluster_FullMethodName:   replica,
	pb.Federation_RemoveRegion_FullMethodName:   replica,
	pb.Federation_Revoke_FullMethodName:         replica,
	pb.Federation_AdmitReplica_FullMethodName:   replica,
	pb.Federation_CheckAdmission_FullMethodName: replica,
	pb.Federation_GetKeyring_FullMethodName:     replica,
	pb.Federation_GetDirectory_FullMethodName:   replica,

	pb.Replication_Watch_FullMethodName: replica,

	pb.Operator_Version_FullMethodName:         viewer,
	pb.Operator_Status_FullMethodName:          viewer,
	pb.Operator_Check_FullMethodName:           viewer,
	pb.Operator_Members_FullMethodName:         viewer,
	pb.Operator_Services_FullMethodName:        viewer,
	pb.Operator_Endpoints_FullMethodName:       viewer,
	pb.Operator_Resolve_FullMethodName:         viewer,
	pb.Operator_ListAudit_FullMethodName:       viewer,
	pb.Operator_GetTrust_FullMethodName:        viewer,
	pb.Operator_ListPolicies_FullMethodName:    viewer,
	pb.Operator_GetPolicy_FullMethodName:       viewer,
	pb.Operator_ListExportRules_FullMethodName: viewer,
	pb.Operator_GetExportRule_FullMethodName:   viewer,
	pb.Operator_CheckExport_FullMethodName:     viewer,
	pb.Operator_ListEvacuations_FullMethodName: viewer,
	pb.Operator_PlanDrill_FullMethodName:       viewer,
	pb.Operator_ListDrills_FullMethodName:      viewer,
	pb.Operator_GetDrill_FullMethodName:        viewer,
	pb.Operator_ReportDrill_FullMethodName:     viewer,
	pb.Operator_ListGates_FullMethodName:       viewer,
	pb.Operator_ListSchedules_FullMethodName:   viewer,
	pb.Operator_KeyringStatus_FullMethodName:   viewer,
	pb.Operator_ListTokens_FullMethodName:      viewer,
	pb.Operator_ListOperators_FullMethodName:   viewer,

	pb.Operator_ApplyPolicy_FullMethodName:    operator,
	pb.Operator_DeletePolicy_FullMethodName:   operator,
	pb.Operator_Evacuate_FullMethodName:       operator,
	pb.Operator_StopEvacuation_FullMethodName: operator,
	pb.Operator_StartDrill_FullMethodName:     operator,
	pb.Operator_StopDrill_FullMethodName:      operator,
	pb.Operator_ExtendDrill_FullMethodName:    operator,
	pb.Operator_OpenGate_FullMethodName:       operator, // and named by the gate
	pb.Operator_CloseGate_FullMethodName:      operator,
	pb.Operator_ApplySchedule_FullMethodName:  operator,
	pb.Operator_DeleteSchedule_FullMethodName: operator,
	pb.Operator_RunSchedule_FullMethodName:    operator,
	pb.Operator_ApplyServices_FullMethodName:  operator,
	pb.Operator_DeleteService_FullMethodName:  operator,

	pb.Operator_CreateToken_FullMethodName:      admin,
	pb.Operator_RevokeToken_FullMethodName:      admin,
	pb.Operator_ApplyExportRules_FullMethodName: admin,
	pb.Operator_DeleteExportRule_FullMethodName: admin,
	pb.Operator_CreateGate_FullMethodName:       admin,
	pb.Operator_DeleteGate_FullMethodName:       admin,
	pb.Operator_CreateOperator_FullMethodName:   admin,
	pb.Operator_DeleteOperator_FullMethodName:   admin,
	pb.Operator_Leave_FullMethodName:            admin,
	pb.Operator_RemoveRegion_FullMethodName:     admin,
	pb.Operator_Backup_FullMethodName:           admin,
	pb.Operator_RotateKeyring_FullMethodName:    admin,
}
